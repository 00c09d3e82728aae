// Draws /openapi.json: addresses, fields, answers, and a curl line each.

import { get } from "/api.js";

const make = (tag, text = "", name = "") => Object.assign(document.createElement(tag), { textContent: text, className: name });

const document_ = await get("/openapi.json");
document.getElementById("description").textContent = document_.info.description;
const place = document.getElementById("paths");
for (const [path, methods] of Object.entries(document_.paths)) {
  for (const [method, operation] of Object.entries(methods)) place.append(section(path, method, operation));
}

function section(path, method, operation) {
  const node = make("section", "", "card");
  const title = make("h2");
  title.append(make("span", method.toUpperCase(), "method"), path);
  node.append(title, make("p", operation.summary + "."));
  if (operation.description) node.append(make("p", operation.description, "note"));
  const schema = operation.requestBody?.content["multipart/form-data"].schema;
  node.append(make("pre", curl(path, method, schema)));
  if (schema) node.append(table(["field", "type", "range"], Object.entries(schema.properties).map(row)));
  const answers = Object.entries(operation.responses).map(([status, { description, content }]) => [
    status,
    description,
    Object.keys(content ?? {}).join(", "),
  ]);
  node.append(table(["status", "meaning", "content"], answers));
  return node;
}

function row([name, schema]) {
  const range = [];
  if (schema.enum) range.push(schema.enum.join(", "));
  if (schema.minimum !== undefined) range.push(`${schema.minimum}${schema.maximum === undefined ? " or more" : ` to ${schema.maximum}`}`);
  if (schema.default !== undefined) range.push(`default ${schema.default}`);
  if (schema.description) range.push(schema.description);
  return [name, schema.format === "binary" ? "file" : schema.type === "array" ? "two files" : schema.type, range.join("; ")];
}

function curl(path, method, schema) {
  const address = `${location.origin}${path}`;
  if (method === "get") return `curl ${address}`;
  const audio = schema.properties.audio.type === "array" ? "-F audio=@a.wav -F audio=@b.wav" : "-F audio=@clip.wav";
  return path.endsWith("embeddings") ? `curl ${audio} ${address}` : `curl ${audio} ${address} -o face.png`;
}

function table(heads, rows) {
  const [outer, inner, head, body] = [make("div", "", "table"), make("table"), make("thead"), make("tbody")];
  const line = (tag, cells) => {
    const node = make("tr");
    node.append(...cells.map((cell) => make(tag, cell)));
    return node;
  };
  head.append(line("th", heads));
  body.append(...rows.map((cells) => line("td", cells)));
  inner.append(head, body);
  outer.append(inner);
  return outer;
}

// Several recordings in, one zip out: one after the other, with progress n of N.

import { Problem, post } from "/api.js";
import { bytesOf, stem } from "/panel.js";
import { zip } from "/zip.js";

const find = (id) => document.getElementById(id);

/** Make the faces of each file; the section #batch shows how far it is. `fields` are options of /api/v1/faces,
 * `fault(file)` says why a file is not sent. */
export async function runBatch(files, fields, fault) {
  const stopper = new AbortController();
  const [archive, names, table] = [[], new Set(), []];
  const failed = find("batch-failed");
  begin(stopper);
  let stopped = false;
  for (const [index, file] of files.entries()) {
    progress(index, files.length, file.name);
    const path = file.webkitRelativePath || file.name;
    try {
      if (fault(file)) throw new Problem(fault(file));
      const wait = (seconds) => progress(index, files.length, `the studio is busy, again in ${seconds} s`);
      const answer = await post("/api/v1/faces", [file], fields, wait, stopper.signal);
      find("batch").querySelector("[data-notice]").textContent = answer.notice;
      const base = unused(stem(path.replaceAll("/", "-")), names);
      const images = answer.faces.map(({ png, variant }) => {
        const name = answer.faces.length > 1 ? `${base}-${variant}.png` : `${base}.png`;
        archive.push([name, bytesOf(png)]);
        if (variant === 1) thumbnail(png, name);
        return name;
      });
      const { faces, notice, ...found } = answer;
      table.push({ recording: path, images, ...found });
    } catch (error) {
      if (error.name === "AbortError") {
        stopped = true;
        break;
      }
      const reason = error instanceof Problem ? error.message : "it could not be read.";
      failed.append(Object.assign(document.createElement("li"), { textContent: `${path}: ${reason}` }));
      table.push({ recording: path, error: reason });
    }
  }
  archive.push(["results.json", new TextEncoder().encode(JSON.stringify(table, null, 2))]);
  end(archive, table.filter((row) => !row.error).length, files.length, stopped);
}

function begin(stopper) {
  find("batch").hidden = false;
  find("batch-faces").replaceChildren();
  find("batch-failed").replaceChildren();
  find("batch-zip").hidden = true;
  find("batch-stop").hidden = false;
  find("batch-stop").onclick = () => stopper.abort();
}

function progress(done, total, what) {
  find("batch-text").textContent = `${done} of ${total} done: ${what}`;
  Object.assign(find("batch-progress"), { max: total, value: done });
}

function end(archive, made, total, stopped) {
  find("batch-progress").value = stopped ? made : total;
  find("batch-text").textContent = `${made} of ${total} recordings became faces${stopped ? ", then it was stopped" : ""}.`;
  find("batch-stop").hidden = true;
  const link = find("batch-zip");
  if (link.href) URL.revokeObjectURL(link.href);
  link.hidden = !made;
  link.href = URL.createObjectURL(zip(archive));
  link.download = "faces.zip";
}

function thumbnail(png, name) {
  const figure = document.createElement("figure");
  const image = Object.assign(document.createElement("img"), { src: `data:image/png;base64,${png}`, alt: `Synthetic face of ${name}` });
  figure.append(image, Object.assign(document.createElement("figcaption"), { textContent: name, title: name }));
  find("batch-faces").append(figure);
}

function unused(name, names) {
  let found = name;
  for (let number = 2; names.has(found.toLowerCase()); number += 1) found = `${name}-${number}`;
  names.add(found.toLowerCase());
  return found;
}

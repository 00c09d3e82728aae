// The studio's page: voices, options, one button.

import { Problem, get, post } from "/api.js";
import { runBatch } from "/batch.js";
import { Panel, bytesOf, stem } from "/panel.js";

const find = (id) => document.getElementById(id);
const [desk, go, status] = [find("desk"), find("go"), find("status")];
const panels = [];
let files = []; // several recordings, instead of one
let checkpoints = [];
let limits = { upload_bytes: Infinity };
let working = false;

// Voices

function addPanel() {
  const panel = new Panel(panels.length ? "B" : "A");
  panels.push(panel);
  desk.append(panel.node);
  panel.addEventListener("files", ({ detail }) => takeFiles(panel, detail));
  panel.addEventListener("change", () => {
    files = [];
    refresh();
  });
  panel.addEventListener("remove", () => {
    panels.splice(panels.indexOf(panel), 1);
    panel.take(null);
    panel.node.remove();
    arrange();
    find("second").focus();
  });
  arrange();
  return panel;
}

function arrange() {
  const two = panels.length > 1;
  desk.className = two ? "desk two" : "desk one";
  panels.forEach((panel, i) => panel.title(two ? `Voice ${"AB"[i]}` : "Voice", two));
  find("second").hidden = two;
  find("morph").hidden = !two;
  if (!two) find("morphed").hidden = true;
  refresh();
}

/** Why a file is not worth sending, or "". */
function fault(file) {
  if (!file.size) return "it is empty.";
  if (file.size <= limits.upload_bytes) return "";
  return `it is larger than ${Math.round(limits.upload_bytes / 2 ** 20)} MiB; send a shorter one.`;
}

function takeFiles(panel, chosen) {
  if (chosen.length === 1 || panels.length > 1) {
    const bad = chosen.find(fault); // of several for one zip, each is told with the others
    if (bad) {
      panel.problem(`${bad.name}: ${fault(bad)}`);
      return;
    }
  }
  if (chosen.length === 1 || panels.length > 1) {
    panel.take(chosen[0], chosen[0].name);
    const other = panels.find((one) => one !== panel);
    if (chosen.length > 1 && other) other.take(chosen[1], chosen[1].name);
    return;
  }
  panel.take(null);
  files = chosen;
  refresh();
}

function refresh() {
  const ready = panels.filter((panel) => panel.clip).length;
  go.disabled = working || !(ready || files.length);
  go.textContent = files.length ? `Show ${files.length} faces` : ready > 1 ? "Show the faces" : "Show the face";
  find("morph").disabled = working || ready < 2;
  if (!working) say(files.length ? `${files.length} recordings chosen.` : "");
}

const say = (text) => (status.textContent = text);

// Options

function fields() {
  const checked = document.querySelector("input[name=gender]:checked").value;
  const strength = find("strength");
  const own = strength.disabled || Number(strength.value) === Number(strength.dataset.own);
  return {
    checkpoint: find("checkpoint").value,
    gender: find("checkpoint").selectedOptions[0]?.dataset.gender === "false" ? "" : checked,
    size: find("size").value,
    strength: own ? "" : strength.value,
  };
}

const faceFields = () => ({ ...fields(), variants: find("variants").value, seed: find("seed").value });

function showValues() {
  find("variants-value").textContent = find("variants").value;
  find("steps-value").textContent = find("steps").value;
  const strength = find("strength");
  const own = Number(strength.value) === Number(strength.dataset.own) ? " (the model's own)" : "";
  find("strength-value").textContent = strength.disabled ? "" : strength.value + own;
}

function chooseCheckpoint() {
  const entry = checkpoints.find(({ id }) => id === find("checkpoint").value);
  if (!entry) return;
  find("checkpoint-note").textContent = { loading: "It is loading.", failed: "It does not load." }[entry.state] ?? entry.about;
  const strength = find("strength");
  strength.disabled = entry.state === "ready" && entry.strength === null;
  if (entry.strength) strength.value = strength.dataset.own = entry.strength;
  find("strength-note").textContent = strength.disabled
    ? "This model has no strength."
    : "0 is the average face, 1 as predicted.";
  for (const radio of document.querySelectorAll("input[name=gender]")) radio.disabled = entry.gender === false;
  showValues();
}

async function readCheckpoints() {
  try {
    const found = await get("/api/v1/checkpoints");
    const select = find("checkpoint");
    const before = select.value;
    ({ checkpoints, limits } = found);
    select.replaceChildren(...checkpoints.map(({ id }) => new Option(id, id)));
    if (before) select.value = before;
    checkpoints.forEach(({ gender }, i) => (select.options[i].dataset.gender = String(gender)));
    find("variants").max = limits.variants;
    find("steps").max = limits.steps;
    chooseCheckpoint();
    if (checkpoints.some(({ state }) => state === "loading")) setTimeout(readCheckpoints, 1000);
  } catch (error) {
    say(error.message);
    setTimeout(readCheckpoints, 3000);
  }
}

// Work

async function work(task) {
  if (working) return;
  working = true;
  refresh();
  try {
    await task();
  } finally {
    working = false;
    const text = status.textContent;
    refresh();
    say(text);
  }
}

const waiting = (seconds) => say(`The studio is busy; again in ${seconds} s.`);

async function makeFaces() {
  if (files.length) {
    say("");
    await runBatch(files, faceFields(), fault);
    return;
  }
  const start = performance.now();
  for (const panel of panels.filter(({ clip }) => clip)) {
    panel.problem("");
    panel.busy(true);
    say("Looking for a face ...");
    try {
      const given = { ...faceFields(), details: "true" };
      panel.show(await post("/api/v1/faces", [panel.clip.file], given, waiting));
      say(`Done in ${((performance.now() - start) / 1000).toFixed(1)} s.`);
    } catch (error) {
      panel.clearFaces();
      panel.problem(error instanceof Problem ? error.message : "The recording could not be read; choose it again.");
      say("");
    } finally {
      panel.busy(false);
    }
  }
}

async function makeMorph() {
  say("Making the morph ...");
  const section = find("morphed");
  try {
    const given = { ...fields(), steps: find("steps").value };
    const clips = panels.map(({ clip }) => clip.file);
    const answer = await post("/api/v1/morph", clips, given, waiting);
    const images = answer.faces.map(({ png, step }) => {
      const alt = `Synthetic face, step ${step} of ${answer.faces.length}`;
      return Object.assign(document.createElement("img"), { src: `data:image/png;base64,${png}`, alt });
    });
    find("strip").replaceChildren(...images);
    const link = find("strip-link");
    if (link.href) URL.revokeObjectURL(link.href);
    link.href = URL.createObjectURL(new Blob([bytesOf(answer.strip)], { type: "image/png" }));
    link.download = `${panels.map(({ clip }) => stem(clip.name)).join("-to-")}.png`;
    section.querySelector("[data-notice]").textContent = answer.notice;
    section.hidden = false;
    section.scrollIntoView({ block: "nearest" });
    say("Done.");
  } catch (error) {
    say(error instanceof Problem ? error.message : "A recording could not be read; choose it again.");
  }
}

find("actions").addEventListener("submit", (event) => {
  event.preventDefault();
  work(makeFaces);
});
find("morph").addEventListener("click", () => work(makeMorph));
find("second").addEventListener("click", () => addPanel().find(".files").focus());
find("dice").addEventListener("click", () => (find("seed").value = Math.floor(Math.random() * 1e6)));
find("checkpoint").addEventListener("change", chooseCheckpoint);
for (const id of ["variants", "strength", "steps"]) find(id).addEventListener("input", showValues);
window.addEventListener("dragover", (event) => event.preventDefault());
window.addEventListener("drop", (event) => event.preventDefault());

addPanel();
readCheckpoints();
get("/api/v1/runs").then(
  () => (find("runs-link").hidden = false),
  () => {},
);

// Runs as their folders say them: read again every ten seconds; nothing here changes a run.

import { get } from "/api.js";

const EVERY = 10; // seconds
const SVG = "http://www.w3.org/2000/svg";
const find = (id) => document.getElementById(id);
const make = (tag, text = "", name = "") => Object.assign(document.createElement(tag), { textContent: text, className: name });
let grids = [];
let newest = true;

const chosen = () => decodeURIComponent(location.hash.slice(1));
const number = (value) => (Math.abs(value) >= 100 ? value.toFixed(0) : value.toPrecision(4));

function time(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

function state(run) {
  if (run.error) return run.error;
  const place = `${run.stage} ${run.iteration} of ${run.iterations}`;
  if (run.finished) return `${place}, finished`;
  return run.seconds_left === null ? `${place}, last written ${time(run.seconds_ago)} ago` : `${place}, ${time(run.seconds_left)} left`;
}

async function refresh() {
  try {
    const { runs } = await get("/api/v1/runs");
    find("text").textContent = runs.length ? `${runs.length} in the folder, the newest first.` : "There are no runs yet.";
    find("list").replaceChildren(...runs.reverse().map(card));
    const name = chosen();
    find("run").hidden = !runs.some(({ folder }) => folder === name);
    if (!find("run").hidden) show(await get(`/api/v1/runs/${encodeURIComponent(name)}`));
  } catch (error) {
    find("text").textContent = error.message;
  }
}

function card(run) {
  const button = make("button", "", "run");
  button.type = "button";
  if (run.folder === chosen()) button.setAttribute("aria-current", "true");
  const best = Object.entries(run.figures).map(([name, value]) => `${name} ${number(value)}`).join(", ");
  button.append(make("strong", run.folder), make("span", state(run), "note"), make("span", best, "note"));
  button.addEventListener("click", () => (location.hash = encodeURIComponent(run.folder)));
  return button;
}

function show(run) {
  find("run-title").textContent = run.folder;
  find("run-text").textContent = `${state(run)}. Recipe ${run.recipe}, data ${run.data}, seed ${run.seed}.`;
  Object.assign(find("run-progress"), { max: run.iterations || 1, value: run.iteration || 0 });
  figures(run);
  find("curves").replaceChildren(...Object.entries(run.curves).flatMap(([stage, curves]) => stageCurves(stage, curves)));
  grids = run.grids;
  find("grids").hidden = !grids.length;
  const slider = find("grid-slider");
  slider.max = Math.max(0, grids.length - 1);
  if (newest) slider.value = slider.max;
  showGrid(run.folder);
  slider.oninput = () => {
    newest = slider.value === slider.max;
    showGrid(run.folder);
  };
}

function figures(run) {
  const names = Object.keys(run.figures);
  find("figures").hidden = !names.length;
  if (!names.length) return;
  const table = make("table");
  const head = make("tr");
  head.append(make("th", "iteration"), ...names.map((name) => make("th", name)));
  const rows = run.figures_over_time.slice(-8).map((entry) => {
    const row = make("tr");
    const cells = names.map((name) => make("td", name in entry.figures ? number(entry.figures[name]) : ""));
    row.append(make("td", entry.stage ? `${entry.stage} ${entry.iteration}` : "v2f-gan evaluate"), ...cells);
    return row;
  });
  const best = make("tr");
  best.append(make("th", "best"), ...names.map((name) => make("th", number(run.figures[name]))));
  table.append(head, ...rows, best);
  find("figures").replaceChildren(table);
}

function stageCurves(stage, curves) {
  const box = make("div", "", "curves");
  box.append(...Object.entries(curves).map(([name, points]) => curve(name, points)));
  return [make("h2", `Losses of stage ${stage}`), box];
}

function curve(name, points) {
  const figure = make("figure");
  if (points.length === 1) {
    figure.append(make("figcaption", `${name}: ${number(points[0][1])}`));
    return figure;
  }
  const values = points.map(([, value]) => value);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const [first, last] = [points[0][0], points.at(-1)[0]];
  const x = (i) => (100 * (i - first)) / Math.max(1, last - first);
  const y = (value) => 46 - (42 * (value - low)) / (high - low || 1);
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 100 50");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `${name}: from ${number(values[0])} to ${number(values.at(-1))}`);
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", points.map(([i, value], k) => `${k ? "L" : "M"}${x(i).toFixed(2)} ${y(value).toFixed(2)}`).join(""));
  svg.append(path);
  figure.append(svg, make("figcaption", `${name}: ${number(values.at(-1))} (${number(low)} to ${number(high)})`));
  return figure;
}

function showGrid(folder) {
  const file = grids[Number(find("grid-slider").value)];
  if (!file) return;
  find("grid-name").textContent = file;
  const address = `/api/v1/runs/${encodeURIComponent(folder)}/grids/${encodeURIComponent(file)}`;
  if (!find("grid").src.endsWith(address)) Object.assign(find("grid"), { src: address, alt: `Image grid ${file}` });
}

window.addEventListener("hashchange", () => {
  newest = true;
  refresh();
});
refresh();
setInterval(() => document.hidden || refresh(), EVERY * 1000);

// One voice: recording it, choosing it, seeing it, and the faces made of it.

import { get } from "/api.js";
import { drawMel, drawWave } from "/draw.js";
import { EmptyRecording, Recording, whyNot } from "/recorder.js";

const LONGEST_RECORDING = 60; // seconds, then it stops by itself
const PREVIEW_BYTES = 20e6;
const RECORDINGS = /\.(wav|mp3|m4a|aac|flac|ogg|oga|opus|webm|mp4|mov|mkv|amr|3gp|wma|aif|aiff|caf|au|gsm)$/i;

export const isRecording = (file) => /^(audio|video)\//.test(file.type) || RECORDINGS.test(file.name);

export class Panel extends EventTarget {
  constructor(letter) {
    super();
    const template = document.getElementById("panel");
    this.node = template.content.firstElementChild.cloneNode(true);
    this.find = (selector) => this.node.querySelector(selector);
    this.letter = letter;
    this.clip = null; // {file, name}
    this.view = null; // what is drawn: {envelope, speech, seconds, log_mel}
    this.faces = []; // [{url, name}]
    this.find(".files").addEventListener("change", (event) => this.chosen(event.target));
    this.find(".folder").addEventListener("change", (event) => this.chosen(event.target));
    this.find(".record").addEventListener("click", () => this.toggleRecording());
    this.find(".remove").addEventListener("click", () => this.dispatchEvent(new Event("remove")));
    this.acceptDrops(this.node);
    this.explainMicrophone();
    this.showExamples();
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    new ResizeObserver(() => this.draw()).observe(this.find(".clip"));
    this.title("Voice");
  }

  title(text, removable = false) {
    this.find("h2").textContent = text;
    this.find(".remove").hidden = !removable;
    this.find(".remove").setAttribute("aria-label", `Remove ${text}`);
    this.node.setAttribute("aria-label", text);
  }

  // Where recordings come from

  chosen(input) {
    const files = [...input.files].filter((file) => input.classList.contains("files") || isRecording(file));
    input.value = "";
    if (files.length) this.dispatchEvent(new CustomEvent("files", { detail: files }));
    else this.problem("There is no recording in this folder.");
  }

  acceptDrops(node) {
    const zone = this.find(".drop");
    node.addEventListener("dragover", (event) => {
      event.preventDefault();
      zone.classList.add("over");
    });
    node.addEventListener("dragleave", () => zone.classList.remove("over"));
    node.addEventListener("drop", async (event) => {
      event.preventDefault();
      zone.classList.remove("over");
      const files = await droppedFiles(event.dataTransfer);
      if (files.length) this.dispatchEvent(new CustomEvent("files", { detail: files }));
    });
  }

  explainMicrophone() {
    const reason = whyNot();
    if (!reason) return;
    const note = this.find(".microphone-note");
    this.find(".record").disabled = true;
    note.hidden = false;
    if (reason === "missing") {
      note.textContent = "This browser offers no microphone to pages; choose a file instead.";
      return;
    }
    const port = location.port || "7860";
    const code = Object.assign(document.createElement("code"), {
      textContent: `ssh -L ${port}:127.0.0.1:${port} ${location.hostname}`,
    });
    note.append("Browsers open the microphone on https:// and on this machine itself only. From here, run ", code);
    note.append(` and open http://127.0.0.1:${port}/, or choose a file.`);
  }

  async showExamples() {
    const row = this.find(".examples");
    try {
      const { examples } = await get("/api/v1/examples");
      for (const { id, label } of examples) {
        const button = Object.assign(document.createElement("button"), { type: "button", textContent: label });
        button.setAttribute("aria-pressed", "false");
        button.addEventListener("click", async () => {
          const response = await fetch(`/api/v1/examples/${encodeURIComponent(id)}`);
          if (!response.ok) return;
          this.take(await response.blob(), `${label} (synthesised)`);
          button.setAttribute("aria-pressed", "true");
        });
        row.append(button);
      }
    } catch {
      row.hidden = true;
    }
  }

  // The microphone

  async toggleRecording() {
    if (this.recording) {
      this.endRecording();
      return;
    }
    if (this.starting) return;
    this.starting = true;
    this.problem("");
    const envelope = [];
    const label = this.find(".record .label");
    const onBlock = (samples, seconds) => {
      envelope.push([Math.min(...samples), Math.max(...samples)]);
      label.textContent = `Stop, ${seconds.toFixed(1)} s`;
      this.view = { envelope, speech: [], seconds };
      this.find(".clip").hidden = false;
      this.draw();
      if (seconds >= LONGEST_RECORDING) this.endRecording();
    };
    try {
      this.recording = await Recording.start(onBlock);
    } catch (error) {
      const refused = error.name === "NotAllowedError";
      const missing = error.name === "NotFoundError";
      this.problem(
        refused
          ? "The microphone was not allowed; allow it beside the address, or choose a file."
          : missing
            ? "There is no microphone on this device; choose a file."
            : `The microphone does not start (${error.name}); choose a file.`,
      );
      return;
    } finally {
      this.starting = false;
    }
    this.find(".found").textContent = "";
    this.find(".name").textContent = "Recording";
    this.find("audio").hidden = true;
    this.find(".mel-plot").hidden = true;
    this.find(".record").setAttribute("aria-pressed", "true");
  }

  endRecording() {
    const recording = this.recording;
    this.recording = null;
    this.find(".record").setAttribute("aria-pressed", "false");
    this.find(".record .label").textContent = "Record again";
    try {
      this.take(recording.stop(), "Recording");
    } catch (error) {
      this.take(null);
      this.problem(error instanceof EmptyRecording ? error.message : "The recording was lost; try again.");
    }
  }

  // The clip

  take(file, name = "") {
    this.clip = file && { file, name };
    this.view = null;
    this.problem("");
    for (const button of this.node.querySelectorAll(".examples button")) button.setAttribute("aria-pressed", "false");
    const player = this.find("audio");
    if (player.src) URL.revokeObjectURL(player.src);
    player.removeAttribute("src");
    player.hidden = !file;
    if (file) player.src = URL.createObjectURL(file);
    this.find(".clip").hidden = !file;
    this.find(".name").textContent = name;
    this.find(".found").textContent = "";
    this.find(".mel-plot").hidden = true;
    this.clearFaces();
    this.draw();
    if (file) this.preview(file);
    this.dispatchEvent(new Event("change"));
  }

  /** The waveform before the studio has answered, where the browser can decode the file. */
  async preview(file) {
    if (file.size > PREVIEW_BYTES || !window.OfflineAudioContext) return;
    try {
      const context = new OfflineAudioContext(1, 1, 16000);
      const decoded = await context.decodeAudioData(await file.arrayBuffer());
      if (this.clip?.file !== file || this.view) return;
      const samples = decoded.getChannelData(0);
      const envelope = [];
      const step = Math.max(1, Math.floor(samples.length / 600));
      for (let i = 0; i < samples.length; i += step) {
        let [low, high] = [0, 0];
        for (let j = i; j < Math.min(i + step, samples.length); j += 1) {
          if (samples[j] < low) low = samples[j];
          if (samples[j] > high) high = samples[j];
        }
        envelope.push([low, high]);
      }
      this.view = { envelope, speech: [], seconds: decoded.duration };
      this.draw();
    } catch {
      // the studio decodes what the browser does not
    }
  }

  draw() {
    const wave = this.find(".wave");
    if (this.find(".clip").hidden) return;
    const { envelope = [], speech = [], seconds = 1, log_mel } = this.view || {};
    drawWave(wave, envelope, speech, seconds);
    const spoken = speech.reduce((sum, [a, b]) => sum + b - a, 0).toFixed(1);
    wave.setAttribute("aria-label", `Waveform of ${seconds.toFixed(1)} s` + (speech.length ? `, ${spoken} s of speech` : ""));
    const mel = this.find(".mel");
    this.find(".mel-plot").hidden = !log_mel;
    if (log_mel) {
      drawMel(mel, log_mel);
      mel.setAttribute("aria-label", "Log-mel of the recording");
    }
  }

  // What came of it

  busy(on) {
    this.find(".result").classList.toggle("busy", on);
    this.find(".result").setAttribute("aria-busy", String(on));
  }

  clearFaces() {
    for (const { url } of this.faces) URL.revokeObjectURL(url);
    this.faces = [];
    this.find(".faces").replaceChildren();
    this.find(".result").classList.add("empty");
    this.find(".warning").hidden = true;
    this.find(".isnot").hidden = true;
  }

  show(answer) {
    this.clearFaces();
    if (answer.details) this.view = answer.details;
    const level = answer.speech_level_db === null ? "" : `, ${Math.round(answer.speech_level_db)} dB`;
    this.find(".found").textContent =
      `${answer.seconds.toFixed(1)} s, ${answer.speech_seconds.toFixed(1)} s of speech${level}`;
    const faces = this.find(".faces");
    faces.classList.toggle("single", answer.faces.length === 1);
    for (const { png, variant, seed } of answer.faces) {
      const name = `${stem(this.clip.name)}-${variant}.png`;
      const face = faceFigure(png, name, variant, seed);
      this.faces.push({ url: face.url, name });
      faces.append(face.figure);
    }
    this.find(".result").classList.remove("empty");
    const warning = this.find(".warning");
    warning.hidden = !answer.warning && !answer.audio_note;
    warning.textContent = [answer.warning, answer.audio_note].filter(Boolean).map(sentence).join(" ");
    this.find(".isnot").hidden = false;
    this.find(".isnot").textContent = answer.notice;
    this.draw();
    if (window.innerWidth <= 760) faces.scrollIntoView({ block: "nearest" });
  }

  problem(text) {
    const node = this.find(".problem");
    node.hidden = !text;
    node.textContent = text;
  }
}

/** Bytes of base64. */
export const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

/** A name for a file, of a recording's name. */
export const stem = (name) =>
  name.replace(/\.[^.]{1,5}$/, "").replace(/[^\p{L}\p{N}._ -]+/gu, "").trim().slice(0, 80) || "face";

const sentence = (text) => `${text[0].toUpperCase()}${text.slice(1)}.`;

function faceFigure(png, name, variant, seed) {
  const url = URL.createObjectURL(new Blob([bytesOf(png)], { type: "image/png" }));
  const figure = Object.assign(document.createElement("figure"), { className: "face" });
  const what = variant === 1 ? "plain answer" : `variant ${variant}, seed ${seed}`;
  const image = Object.assign(document.createElement("img"), { src: url, alt: `Synthetic face, ${what}` });
  const caption = document.createElement("figcaption");
  const link = Object.assign(document.createElement("a"), { href: url, download: name, textContent: "Download PNG" });
  link.setAttribute("aria-label", `Download PNG, ${what}`);
  const label = Object.assign(document.createElement("span"), { textContent: what[0].toUpperCase() + what.slice(1) });
  const not = Object.assign(document.createElement("span"), { className: "not", textContent: "Not the speaker's face." });
  caption.append(label, link, not);
  figure.append(image, caption);
  return { figure, url };
}

/** The files of a drop, those of folders that are recordings. */
async function droppedFiles(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return [...transfer.files];
  const found = [];
  const walk = async (entry) => {
    if (entry.isFile) {
      const file = await new Promise((done, fail) => entry.file(done, fail));
      if (isRecording(file)) found.push(file);
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      const some = await new Promise((done, fail) => reader.readEntries(done, fail));
      if (!some.length) break;
      for (const inner of some) await walk(inner);
    }
  };
  for (const entry of entries) await walk(entry);
  return found;
}

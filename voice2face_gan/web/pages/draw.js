// The waveform and the log-mel on canvases, in the colours of the page.

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Draw an envelope, [[low, high], ...] in [-1, 1]; columns within `speech`, [[start, end], ...] s, in colour. */
export function drawWave(canvas, envelope, speech, seconds) {
  const scale = Math.min(3, window.devicePixelRatio || 1);
  const width = Math.max(1, Math.round(canvas.clientWidth * scale));
  const height = Math.max(1, Math.round(canvas.clientHeight * scale));
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  const [plain, kept] = [colour("--wave"), colour("--accent")];
  let top = 0.05;
  for (const [low, high] of envelope) top = Math.max(top, -low, high);
  const bar = Math.max(1, Math.floor(2 * scale));
  const bars = Math.floor(width / (1.5 * bar));
  for (let i = 0; i < bars; i += 1) {
    const from = Math.floor((i * envelope.length) / bars);
    const to = Math.max(from + 1, Math.floor(((i + 1) * envelope.length) / bars));
    let [low, high] = [0, 0];
    for (const [a, b] of envelope.slice(from, to)) [low, high] = [Math.min(low, a), Math.max(high, b)];
    const time = ((i + 0.5) / bars) * seconds;
    context.fillStyle = speech.some(([a, b]) => time >= a && time < b) ? kept : plain;
    const y = (height / 2) * (1 - (0.94 * high) / top);
    const tall = Math.max(scale, ((0.94 * (high - low)) / top) * (height / 2));
    context.fillRect(i * 1.5 * bar, y, bar, tall);
  }
}

/** Draw a log-mel, bytes (bins, columns), low frequencies at the bottom. */
export function drawMel(canvas, { bins, columns, data }) {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  Object.assign(canvas, { width: columns, height: bins });
  const context = canvas.getContext("2d");
  const image = context.createImageData(columns, bins);
  const table = colours();
  for (let bin = 0; bin < bins; bin += 1) {
    for (let column = 0; column < columns; column += 1) {
      const place = 4 * ((bins - 1 - bin) * columns + column);
      image.data.set(table[bytes[bin * columns + column]], place);
    }
  }
  context.putImageData(image, 0, 0);
}

function colours() {
  const stops = ["--low", "--mid", "--high"].map((name) => {
    const number = parseInt(colour(name).slice(1), 16);
    return [number >> 16, (number >> 8) & 255, number & 255];
  });
  return Array.from({ length: 256 }, (_, value) => {
    const place = (value / 255) * (stops.length - 1);
    const index = Math.min(stops.length - 2, Math.floor(place));
    const mix = place - index;
    return [...stops[index].map((from, i) => from + mix * (stops[index + 1][i] - from)), 255];
  });
}

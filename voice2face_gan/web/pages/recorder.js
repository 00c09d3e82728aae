// The microphone as PCM: an AudioWorklet's samples become a 16-bit WAV; no container of a browser in between.

const SHORTEST = 0.3; // seconds
const SILENCE = 0.0005; // of full scale: less at every sample is no voice

export class EmptyRecording extends Error {}

/** Why there is no microphone here, or "". */
export function whyNot() {
  if (!window.isSecureContext) return "insecure";
  if (!navigator.mediaDevices || !window.AudioWorkletNode) return "missing";
  return "";
}

export class Recording {
  /** Begin; `onBlock(samples, seconds)` is called with each block. */
  static async start(onBlock) {
    const audio = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    const stream = await navigator.mediaDevices.getUserMedia({ audio });
    const recording = new Recording();
    recording.stream = stream;
    recording.blocks = [];
    recording.samples = 0;
    try {
      const context = new AudioContext();
      recording.context = context;
      await context.resume();
      await context.audioWorklet.addModule("/recorder-worklet.js");
      const node = new AudioWorkletNode(context, "recorder", { channelCount: 1, channelCountMode: "explicit" });
      node.port.onmessage = ({ data }) => {
        if (recording.closed) return; // a block that was still on its way
        recording.blocks.push(data);
        recording.samples += data.length;
        onBlock(data, recording.samples / context.sampleRate);
      };
      const silent = new GainNode(context, { gain: 0 });
      context.createMediaStreamSource(stream).connect(node).connect(silent).connect(context.destination);
    } catch (error) {
      recording.close();
      throw error;
    }
    return recording;
  }

  /** End; the recording as a WAV file. Throws EmptyRecording where there is nothing in it. */
  stop() {
    const rate = this.context.sampleRate;
    this.close();
    const samples = new Float32Array(this.samples);
    let place = 0;
    for (const block of this.blocks) {
      samples.set(block, place);
      place += block.length;
    }
    const loudest = samples.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
    if (samples.length < SHORTEST * rate) throw new EmptyRecording("The recording is empty: hold on a little longer.");
    if (loudest < SILENCE) throw new EmptyRecording("The recording is silent: is the right microphone chosen, and on?");
    return wav(samples, rate);
  }

  close() {
    this.closed = true;
    for (const track of this.stream.getTracks()) track.stop();
    this.context?.close();
  }
}

/** Float32 samples in [-1, 1] as a mono 16-bit WAV file. */
export function wav(samples, rate) {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const text = (place, letters) => [...letters].forEach((x, i) => view.setUint8(place + i, x.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * samples.length, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, 2 * samples.length, true);
  samples.forEach((x, i) => view.setInt16(44 + 2 * i, Math.round(32767 * Math.max(-1, Math.min(1, x))), true));
  return new Blob([view], { type: "audio/wav" });
}

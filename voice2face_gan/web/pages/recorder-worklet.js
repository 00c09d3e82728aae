// Hands the samples of the microphone to the page, unchanged, a dozen times a second: each time the page is drawn anew.

class Recorder extends AudioWorkletProcessor {
  constructor() {
    super();
    this.block = new Float32Array(4096);
    this.filled = 0;
  }

  process(inputs) {
    const channel = inputs[0][0];
    if (channel) {
      this.block.set(channel, this.filled);
      this.filled += channel.length;
      if (this.filled + channel.length > this.block.length) {
        this.port.postMessage(this.block.slice(0, this.filled));
        this.filled = 0;
      }
    }
    return true;
  }
}

registerProcessor("recorder", Recorder);

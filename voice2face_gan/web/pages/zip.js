// A zip archive of files that are compressed already: stored, with UTF-8 names (PKWARE APPNOTE 6.3.10).

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  let value = n;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value >>> 0;
});

function crc32(bytes) {
  let value = 0xffffffff;
  for (const byte of bytes) value = TABLE[(value ^ byte) & 255] ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}

/** Blob of [name, Uint8Array] pairs. */
export function zip(files) {
  const [parts, directory] = [[], []];
  let place = 0;
  for (const [name, bytes] of files) {
    const label = new TextEncoder().encode(name);
    const common = new DataView(new ArrayBuffer(26)); // from the version to the extra field's length
    common.setUint16(0, 20, true);
    common.setUint16(2, 0x0800, true); // names are UTF-8
    common.setUint16(8, 0x21, true); // 1 January 1980
    common.setUint32(10, crc32(bytes), true);
    common.setUint32(14, bytes.length, true);
    common.setUint32(18, bytes.length, true);
    common.setUint16(22, label.length, true);
    parts.push(word(0x04034b50), common, label, bytes);
    const rest = new DataView(new ArrayBuffer(14));
    rest.setUint32(10, place, true);
    directory.push(word(0x02014b50), half(20), common, rest, label);
    place += 4 + 26 + label.length + bytes.length;
  }
  const length = directory.reduce((sum, part) => sum + part.byteLength, 0);
  const end = new DataView(new ArrayBuffer(18));
  end.setUint16(4, files.length, true);
  end.setUint16(6, files.length, true);
  end.setUint32(8, length, true);
  end.setUint32(12, place, true);
  return new Blob([...parts, ...directory, word(0x06054b50), end], { type: "application/zip" });
}

function word(value) {
  const view = new DataView(new ArrayBuffer(4));
  view.setUint32(0, value, true);
  return view;
}

function half(value) {
  const view = new DataView(new ArrayBuffer(2));
  view.setUint16(0, value, true);
  return view;
}

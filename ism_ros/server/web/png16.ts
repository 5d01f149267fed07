// 16-bit PNG as it is. The browser's own decoder keeps 8 of the 16 bits.

/** Numbers as they are stored, row by row. */
export interface Gray16 {
  width: number;
  height: number;
  values: Uint16Array;
}

export interface PngHead {
  width: number;
  height: number;
  bits: number;
  colorType: number;
  interlaced: boolean;
}

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
const GRAY = 0;

/** What the file's first bytes say; null where it is no PNG. */
export function pngHead(bytes: Uint8Array): PngHead | null {
  if (bytes.length < 33 || SIGNATURE.some((byte, i) => bytes[i] !== byte)) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return {
    width: view.getUint32(16),
    height: view.getUint32(20),
    bits: view.getUint8(24),
    colorType: view.getUint8(25),
    interlaced: view.getUint8(28) !== 0,
  };
}

export function isGray16(head: PngHead): boolean {
  return head.bits === 16 && head.colorType === GRAY;
}

/** Throws an Error with a sentence where it is no such image or damaged. */
export async function decodeGray16(bytes: Uint8Array): Promise<Gray16> {
  const head = pngHead(bytes);
  if (head === null || !isGray16(head) || head.interlaced) {
    throw new Error("the depth image is no 16-bit PNG with one channel, so that it cannot be shown");
  }
  const { width, height } = head;
  const lines = await inflate(imageData(bytes));
  const stride = 2 * width;
  if (lines.length < height * (stride + 1)) throw new Error("the depth image is cut short");
  const values = new Uint16Array(width * height);
  let above: Uint8Array = new Uint8Array(stride);
  for (let y = 0; y < height; y++) {
    const start = y * (stride + 1);
    const line = lines.subarray(start + 1, start + 1 + stride);
    unfilter(lines[start] ?? 0, line, above);
    for (let x = 0; x < width; x++) values[y * width + x] = ((line[2 * x] ?? 0) << 8) | (line[2 * x + 1] ?? 0);
    above = line;
  }
  return { width, height, values };
}

/** All IDAT chunks, one after the other. */
function imageData(bytes: Uint8Array): Blob {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const parts: BlobPart[] = [];
  let at = SIGNATURE.length;
  while (at + 12 <= bytes.length) {
    const length = view.getUint32(at);
    const kind = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (kind === "IDAT") parts.push(bytes.slice(at + 8, at + 8 + length));
    if (kind === "IEND") break;
    at += 12 + length;
  }
  return new Blob(parts);
}

async function inflate(data: Blob): Promise<Uint8Array> {
  try {
    const stream = data.stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  } catch {
    throw new Error("the depth image is damaged, so that it cannot be shown");
  }
}

/** Undoes PNG's filter of one line, in place; a pixel is 2 bytes. */
function unfilter(filter: number, line: Uint8Array, above: Uint8Array): void {
  for (let i = 0; i < line.length; i++) {
    const left = i >= 2 ? (line[i - 2] ?? 0) : 0;
    const up = above[i] ?? 0;
    const upLeft = i >= 2 ? (above[i - 2] ?? 0) : 0;
    line[i] = (line[i] ?? 0) + predicted(filter, left, up, upLeft);
  }
}

function predicted(filter: number, left: number, up: number, upLeft: number): number {
  switch (filter) {
    case 1:
      return left;
    case 2:
      return up;
    case 3:
      return (left + up) >> 1;
    case 4: {
      const sum = left + up - upLeft;
      const [byLeft, byUp, byUpLeft] = [Math.abs(sum - left), Math.abs(sum - up), Math.abs(sum - upLeft)];
      if (byLeft <= byUp && byLeft <= byUpLeft) return left;
      return byUp <= byUpLeft ? up : upLeft;
    }
    default:
      return 0;
  }
}

// Masks out of COCO's compressed run lengths, and their outlines.

export interface Rle {
  counts: string;
  size: number[]; // height, width
}

/** One byte a pixel, row by row: 1 inside. */
export interface Mask {
  width: number;
  height: number;
  inside: Uint8Array;
  area: number;
}

/** Lengths of the runs outside, inside, outside, ... in COCO's text: five bits a character, differences of every second. */
export function runLengths(counts: string): number[] {
  const runs: number[] = [];
  let at = 0;
  while (at < counts.length) {
    let value = 0;
    let shift = 0;
    let more = true;
    while (more) {
      const bits = counts.charCodeAt(at++) - 48;
      value |= (bits & 0x1f) << shift;
      shift += 5;
      more = (bits & 0x20) !== 0;
      if (!more && (bits & 0x10) !== 0) value |= -1 << shift;
    }
    if (runs.length > 2) value += runs[runs.length - 2] ?? 0;
    runs.push(value);
  }
  return runs;
}

export function decodeMask(rle: Rle): Mask {
  const [height = 0, width = 0] = rle.size;
  const inside = new Uint8Array(width * height);
  let pixel = 0; // column by column
  let area = 0;
  runLengths(rle.counts).forEach((length, run) => {
    if (run % 2 === 1) {
      area += length;
      for (let i = pixel; i < pixel + length; i++) inside[(i % height) * width + Math.floor(i / height)] = 1;
    }
    pixel += length;
  });
  return { width, height, inside, area };
}

/**
 * The mask's border as closed lines through the middles of pixel edges, so that slopes look like slopes. Unit: pixels
 * of the mask. Filled by the even-odd rule it is the mask.
 */
export function outline(mask: Mask): Path2D {
  const { width, height, inside } = mask;
  const at = (x: number, y: number): number =>
    x < 0 || y < 0 || x >= width || y >= height ? 0 : (inside[y * width + x] ?? 0);
  const stride = width + 1;
  const next = new Map<number, number[]>(); // corner -> corners that an edge leads to, the mask on its right
  const edge = (fromX: number, fromY: number, toX: number, toY: number): void => {
    const from = fromY * stride + fromX;
    const ends = next.get(from);
    if (ends === undefined) next.set(from, [toY * stride + toX]);
    else ends.push(toY * stride + toX);
  };
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (at(x, y) === 0) continue;
      if (at(x, y - 1) === 0) edge(x, y, x + 1, y);
      if (at(x + 1, y) === 0) edge(x + 1, y, x + 1, y + 1);
      if (at(x, y + 1) === 0) edge(x + 1, y + 1, x, y + 1);
      if (at(x - 1, y) === 0) edge(x, y + 1, x, y);
    }
  }
  const path = new Path2D();
  for (const first of next.keys()) {
    let from = first;
    let to = next.get(from)?.pop();
    if (to === undefined) continue;
    let begun = false;
    while (to !== undefined) {
      const middleX = ((from % stride) + (to % stride)) / 2;
      const middleY = (Math.floor(from / stride) + Math.floor(to / stride)) / 2;
      if (begun) path.lineTo(middleX, middleY);
      else path.moveTo(middleX, middleY);
      begun = true;
      from = to;
      to = next.get(from)?.pop();
    }
    path.closePath();
  }
  return path;
}

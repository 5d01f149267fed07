// Depth as colors: near is warm, far is cold, no measurement is dark.

import type { Gray16 } from "./png16.js";

export interface DepthView {
  picture: HTMLCanvasElement;
  nearM: number;
  farM: number;
  depthM: (x: number, y: number) => number; // 0 where nothing was measured
}

const STOPS: [number, number, number][] = [
  [255, 244, 180],
  [250, 176, 70],
  [222, 84, 72],
  [142, 40, 118],
  [66, 32, 134],
  [22, 26, 78],
];
const UNKNOWN: [number, number, number] = [20, 20, 22];
const LEAST_PART = 0.01; // of the measured pixels that are left out at either end, as single ones are often wrong

/** share: 0 = near, 1 = far. */
export function depthColor(share: number): [number, number, number] {
  const at = Math.min(1, Math.max(0, share)) * (STOPS.length - 1);
  const below = Math.min(STOPS.length - 2, Math.floor(at));
  const [a, b] = [STOPS[below] ?? UNKNOWN, STOPS[below + 1] ?? UNKNOWN];
  const mix = (i: 0 | 1 | 2): number => Math.round(a[i] + (b[i] - a[i]) * (at - below));
  return [mix(0), mix(1), mix(2)];
}

/** depthScale: metres = number * depthScale / 1000. */
export function depthView(depth: Gray16, depthScale: number): DepthView {
  const { width, height, values } = depth;
  const metres = depthScale / 1000;
  const measured = values.filter((value) => value > 0).sort();
  const near = measured[Math.floor(LEAST_PART * measured.length)] ?? 0;
  const far = measured[Math.floor((1 - LEAST_PART) * measured.length)] ?? near;
  const pixels = new ImageData(width, height);
  values.forEach((value, i) => {
    const [red, green, blue] = value === 0 ? UNKNOWN : depthColor((value - near) / Math.max(1, far - near));
    pixels.data.set([red, green, blue, 255], 4 * i);
  });
  const picture = document.createElement("canvas");
  picture.width = width;
  picture.height = height;
  picture.getContext("2d")?.putImageData(pixels, 0, 0);
  const depthM = (x: number, y: number): number =>
    x < 0 || y < 0 || x >= width || y >= height ? 0 : (values[y * width + x] ?? 0) * metres;
  return { picture, nearM: near * metres, farM: far * metres, depthM };
}

/** The colors from near to far. */
export function drawLegend(bar: HTMLCanvasElement): void {
  const context = bar.getContext("2d");
  if (context === null) return;
  for (let x = 0; x < bar.width; x++) {
    context.fillStyle = `rgb(${depthColor(x / (bar.width - 1)).join(" ")})`;
    context.fillRect(x, 0, 1, bar.height);
  }
}

// Which of the dropped files is color, which depth, which the camera: by what is in them, whatever they are called.

import { isGray16, pngHead } from "./png16.js";

export type Slot = "rgb" | "depth" | "camera";

const CAD = /\.(ply|obj|stl|off|glb|gltf)$/i;

/** Whether the file is of an object, not of a frame. */
export function isCad(file: File): boolean {
  return CAD.test(file.name);
}

export interface Sorted {
  slot: Slot;
  detail: string; // for people
}

const JPEG = [0xff, 0xd8, 0xff];

/** Throws an Error with a sentence where the file is none of the three. */
export async function sortFile(file: File): Promise<Sorted> {
  const head = new Uint8Array(await file.slice(0, 64).arrayBuffer());
  const png = pngHead(head);
  if (png !== null) {
    const size = `${png.width} × ${png.height}`;
    return isGray16(png) ? { slot: "depth", detail: `${size}, 16-bit` } : { slot: "rgb", detail: size };
  }
  if (JPEG.every((byte, i) => head[i] === byte)) return { slot: "rgb", detail: kilobytes(file.size) };
  if (file.name.toLowerCase().endsWith(".json")) return { slot: "camera", detail: await cameraDetail(file) };
  throw new Error(`${file.name} is no PNG, JPEG or JSON: drop a color image, a 16-bit depth PNG and camera.json, or an object's CAD file`);
}

/** Metres = number in the depth image * depthScale / 1000. */
export async function depthScale(camera: File): Promise<number> {
  const { depth_scale: scale } = (await cameraOf(camera)) as { depth_scale?: unknown };
  return typeof scale === "number" ? scale : 1;
}

async function cameraDetail(file: File): Promise<string> {
  const { cam_K: matrix } = (await cameraOf(file)) as { cam_K?: unknown };
  const numbers = Array.isArray(matrix) ? matrix.flat() : [];
  if (numbers.length !== 9) {
    throw new Error(`${file.name} has no cam_K: it must be {"cam_K": [9 numbers], "depth_scale": 1.0}`);
  }
  if (!numbers.every((number) => typeof number === "number" && Number.isFinite(number))) {
    throw new Error(`cam_K of ${file.name} holds something that is no number: it must be 9 numbers, row by row`);
  }
  return `f ${Number(numbers[0]).toFixed(0)} px`;
}

async function cameraOf(file: File): Promise<object> {
  try {
    const read: unknown = JSON.parse(await file.text());
    if (typeof read === "object" && read !== null) return read;
  } catch {
    // said below
  }
  throw new Error(`${file.name} is no JSON: it must be {"cam_K": [9 numbers], "depth_scale": 1.0}`);
}

function kilobytes(bytes: number): string {
  return bytes < 1e6 ? `${Math.ceil(bytes / 1000)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

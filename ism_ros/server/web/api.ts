// The server's routes, as far as the page uses them. What goes wrong is a ServerError with the server's own sentence.

import type { Rle } from "./masks.js";

export interface Status {
  state: "loading" | "ready" | "failed";
  message: string;
  segmentor: string;
  descriptor: string;
  segmentors: string[];
  score_threshold: number;
  device: string;
  queue_depth: number;
}

export interface ObjectEntry {
  id: string;
  templates: number;
  uploaded: boolean;
}

export interface Job {
  id: string;
  object_id: string;
  state: "waiting" | "running" | "done" | "failed" | "stopped";
  done: number;
  total: number;
  message: string;
}

export interface Detection {
  class_id: string;
  score: number;
  semantic_score: number;
  appearance_score: number;
  geometric_score: number;
  visible_ratio: number;
  fit_score: number;
  bbox: [number, number, number, number];
  segmentation: Rle;
  template_index: number;
  pose: { rotation: number[]; translation_m: [number, number, number] } | null;
  evidence: Record<string, { value: number; contribution: number }> | null;
}

/** The best detection that score_threshold rejected, where there is none. bbox: x, y, width, height. */
export interface RejectedDetection {
  class_id: string;
  score: number;
  bbox: [number, number, number, number];
}

export interface Answer {
  success: boolean;
  detections: Detection[];
  best_rejected: RejectedDetection | null;
  warnings: { reason: string; text: string }[];
  scores: number[];
  inference_time: number;
  stage_times: Record<string, number>;
}

/** Fields of the request other than images and camera; what is not there is the server's own choice. */
export interface Options {
  object_ids?: string[];
  cad_path?: string;
  template_dir?: string;
  cad_units?: string;
  segmentor_model?: string;
  stability_score_thresh?: number;
  score_threshold?: number;
}

export interface Frame {
  rgb: File;
  depth: File | null;
  camera: File;
}

export interface Sample {
  frame: Frame;
  objectIds: string[];
}

export class ServerError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly retryAfterS: number | null,
  ) {
    super(message);
  }
}

/** Of answers that do not say it themselves. */
const MEANINGS: Record<number, string> = {
  404: "the server has no such route: it may be another version than this page; reload it",
  413: "the files are too large for the server, or for a proxy in between",
  502: "a proxy in between cannot reach the server: is ism serve still running?",
  503: "the server is not ready, or a proxy in between cannot reach it: try again in a moment",
  504: "the server took too long, or a proxy in between did not wait for it",
};

const KEY_NAME = "ism-api-key";

/** Kept for this tab alone. */
export function setKey(key: string): void {
  sessionStorage.setItem(KEY_NAME, key);
}

export function hasKey(): boolean {
  return sessionStorage.getItem(KEY_NAME) !== null;
}

export const status = (): Promise<Status> => json("/api/v1/status");

export async function objects(): Promise<ObjectEntry[]> {
  return (await json<{ objects: ObjectEntry[] }>("/api/v1/objects")).objects;
}

export async function sample(): Promise<Sample> {
  const sample = await json<{
    rgb_image: string;
    depth_image: string;
    cam_params: unknown;
    object_ids: string[];
  }>("/test/sample");
  const camera = JSON.stringify(sample.cam_params);
  return {
    frame: {
      rgb: fileOf(sample.rgb_image, "rgb.jpg", "image/jpeg"),
      depth: fileOf(sample.depth_image, "depth.png", "image/png"),
      camera: new File([camera], "camera.json", { type: "application/json" }),
    },
    objectIds: sample.object_ids,
  };
}

export async function infer(frame: Frame, options: Options, signal: AbortSignal): Promise<Answer> {
  const form = new FormData();
  form.set("rgb", frame.rgb);
  if (frame.depth !== null) form.set("depth", frame.depth);
  form.set("cam_params", await frame.camera.text());
  form.set("options", JSON.stringify({ ...options, visualization: false }));
  return json("/api/v1/inference/upload", { method: "POST", body: form, signal });
}

export function addObject(id: string, cad: File, units: string): Promise<Job> {
  const form = new FormData();
  form.set("id", id);
  form.set("cad", cad);
  if (units) form.set("units", units);
  return json("/api/v1/objects", { method: "POST", body: form });
}

export const removeObject = (id: string): Promise<unknown> =>
  json(`/api/v1/objects/${encodeURIComponent(id)}`, { method: "DELETE" });

/** What became of a job that another page, or this one before it was reloaded, has started. */
export const job = (jobId: string): Promise<Job> => json(`/api/v1/jobs/${encodeURIComponent(jobId)}`);

/** How far a job is, again and again, until it has ended. EventSource cannot send a key, so the events are read here. */
export async function* jobEvents(jobId: string): AsyncGenerator<Job> {
  const response = await request(`/api/v1/jobs/${jobId}`, { headers: { accept: "text/event-stream" } });
  if (response.body === null) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    const events = text.split("\n\n");
    text = events.pop() ?? "";
    for (const event of events) {
      const data = event.split("\n").find((line) => line.startsWith("data: "));
      if (data !== undefined) yield JSON.parse(data.slice("data: ".length)) as Job;
    }
  }
}

async function json<Body>(path: string, init: RequestInit = {}): Promise<Body> {
  const response = await request(path, init);
  try {
    return (await response.json()) as Body;
  } catch {
    throw new ServerError(response.status, `${path} was answered with something else than JSON: is a proxy in between?`, null);
  }
}

async function request(path: string, init: RequestInit): Promise<Response> {
  const headers = new Headers(init.headers);
  const key = sessionStorage.getItem(KEY_NAME);
  if (key !== null) headers.set("X-API-Key", key);
  let response: Response;
  try {
    response = await fetch(path, { ...init, headers });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ServerError(0, "the server does not answer: is ism serve still running?", null);
  }
  if (response.ok) return response;
  const after = response.headers.get("retry-after");
  throw new ServerError(response.status, await sentence(response), after === null ? null : Number(after));
}

async function sentence(response: Response): Promise<string> {
  try {
    const body = (await response.json()) as { error_message?: unknown } | null;
    if (typeof body?.error_message === "string" && body.error_message) return body.error_message;
  } catch {
    // no JSON: something between the page and the server answered
  }
  return MEANINGS[response.status] ?? `the server answered with the status ${response.status}, which it gives no reason for`;
}

function fileOf(base64: string, name: string, type: string): File {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  return new File([bytes], name, { type });
}

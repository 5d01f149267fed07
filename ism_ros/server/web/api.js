// The server's routes, as far as the page uses them. What goes wrong is a ServerError with the server's own sentence.
export class ServerError extends Error {
    status;
    retryAfterS;
    constructor(status, message, retryAfterS) {
        super(message);
        this.status = status;
        this.retryAfterS = retryAfterS;
    }
}
/** Of answers that do not say it themselves. */
const MEANINGS = {
    404: "the server has no such route: it may be another version than this page; reload it",
    413: "the files are too large for the server, or for a proxy in between",
    502: "a proxy in between cannot reach the server: is ism serve still running?",
    503: "the server is not ready, or a proxy in between cannot reach it: try again in a moment",
    504: "the server took too long, or a proxy in between did not wait for it",
};
const KEY_NAME = "ism-api-key";
/** Kept for this tab alone. */
export function setKey(key) {
    sessionStorage.setItem(KEY_NAME, key);
}
export function hasKey() {
    return sessionStorage.getItem(KEY_NAME) !== null;
}
export const status = () => json("/api/v1/status");
export async function objects() {
    return (await json("/api/v1/objects")).objects;
}
export async function sample() {
    const sample = await json("/test/sample");
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
export async function infer(frame, options, signal) {
    const form = new FormData();
    form.set("rgb", frame.rgb);
    if (frame.depth !== null)
        form.set("depth", frame.depth);
    form.set("cam_params", await frame.camera.text());
    form.set("options", JSON.stringify({ ...options, visualization: false }));
    return json("/api/v1/inference/upload", { method: "POST", body: form, signal });
}
export function addObject(id, cad, units) {
    const form = new FormData();
    form.set("id", id);
    form.set("cad", cad);
    if (units)
        form.set("units", units);
    return json("/api/v1/objects", { method: "POST", body: form });
}
export const removeObject = (id) => json(`/api/v1/objects/${encodeURIComponent(id)}`, { method: "DELETE" });
/** What became of a job that another page, or this one before it was reloaded, has started. */
export const job = (jobId) => json(`/api/v1/jobs/${encodeURIComponent(jobId)}`);
/** How far a job is, again and again, until it has ended. EventSource cannot send a key, so the events are read here. */
export async function* jobEvents(jobId) {
    const response = await request(`/api/v1/jobs/${jobId}`, { headers: { accept: "text/event-stream" } });
    if (response.body === null)
        return;
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
        const { done, value } = await reader.read();
        if (done)
            return;
        text += value;
        const events = text.split("\n\n");
        text = events.pop() ?? "";
        for (const event of events) {
            const data = event.split("\n").find((line) => line.startsWith("data: "));
            if (data !== undefined)
                yield JSON.parse(data.slice("data: ".length));
        }
    }
}
async function json(path, init = {}) {
    const response = await request(path, init);
    try {
        return (await response.json());
    }
    catch {
        throw new ServerError(response.status, `${path} was answered with something else than JSON: is a proxy in between?`, null);
    }
}
async function request(path, init) {
    const headers = new Headers(init.headers);
    const key = sessionStorage.getItem(KEY_NAME);
    if (key !== null)
        headers.set("X-API-Key", key);
    let response;
    try {
        response = await fetch(path, { ...init, headers });
    }
    catch (error) {
        if (error instanceof DOMException && error.name === "AbortError")
            throw error;
        throw new ServerError(0, "the server does not answer: is ism serve still running?", null);
    }
    if (response.ok)
        return response;
    const after = response.headers.get("retry-after");
    throw new ServerError(response.status, await sentence(response), after === null ? null : Number(after));
}
async function sentence(response) {
    try {
        const body = (await response.json());
        if (typeof body?.error_message === "string" && body.error_message)
            return body.error_message;
    }
    catch {
        // no JSON: something between the page and the server answered
    }
    return MEANINGS[response.status] ?? `the server answered with the status ${response.status}, which it gives no reason for`;
}
function fileOf(base64, name, type) {
    const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    return new File([bytes], name, { type });
}

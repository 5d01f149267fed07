// The page: a frame and what to look for go to the server, instances come back.
import * as api from "./api.js";
import { curlLine } from "./curl.js";
import { FrameForm } from "./frame_form.js";
import { ObjectForm } from "./object_form.js";
import { element, make } from "./page_elements.js";
import { ResultView } from "./result_view.js";
import { watchServer } from "./server_status.js";
const SLOW_MS = 2000;
const SLOW = "Objects that are new to the server are rendered first, only once: some seconds each, more where it is busy.";
const SHOWN_BELOW = 0.2; // so far below the server's least score the slider goes without another request
const message = element("message", HTMLParagraphElement);
const progress = element("progress", HTMLParagraphElement);
const runButton = element("run", HTMLButtonElement);
const stopButton = element("stop", HTMLButtonElement);
let isSample = false;
let submitted = null;
let defaultThreshold = null;
let running = null;
const objectForm = new ObjectForm(clear, fail);
const frameForm = new FrameForm(() => void framed(), (file) => objectForm.offer(file), fail);
const result = new ResultView(showCurl, () => void run(), fail);
element("request", HTMLFormElement).addEventListener("submit", (event) => {
    event.preventDefault();
    void run();
});
stopButton.addEventListener("click", () => running?.abort());
for (const id of ["use-sample", "try-sample"]) {
    element(id, HTMLButtonElement).addEventListener("click", () => void trySample());
}
element("copy-curl", HTMLButtonElement).addEventListener("click", () => void copyCurl());
element("download-json", HTMLButtonElement).addEventListener("click", downloadJson);
watchServer((status) => void know(status));
async function know(status) {
    if (defaultThreshold === null) {
        defaultThreshold = status.score_threshold;
        result.leastScore = status.score_threshold;
        const select = element("segmentor", HTMLSelectElement);
        for (const name of status.segmentors)
            select.append(new Option(name, name));
        if (select.options[0])
            select.options[0].text = `default (${status.segmentor})`;
    }
    if (status.state === "failed")
        fail(`the models could not be loaded: ${status.message}`);
    try {
        await objectForm.refresh();
        void objectForm.resume();
    }
    catch (error) {
        fail(sentenceOf(error));
    }
}
async function trySample() {
    try {
        clear();
        const { frame, objectIds } = await api.sample();
        await frameForm.set(frame);
        isSample = true;
        objectForm.useSample(objectIds);
        await run();
    }
    catch (error) {
        fail(sentenceOf(error));
    }
}
/** The files of the frame are the person's own now. */
async function framed() {
    running?.abort();
    clear();
    submitted = null;
    isSample = false;
    objectForm.forgetSample();
    if (!frameForm.hasColor)
        result.clear();
    try {
        await result.showFrame(frameForm.frame());
    }
    catch {
        // not all is there yet; "Find instances" says what is missing
    }
}
async function run() {
    running?.abort();
    const stop = new AbortController();
    running = stop;
    clear();
    runButton.disabled = true;
    stopButton.hidden = false;
    try {
        const frame = frameForm.frame();
        const options = { ...objectForm.options(), ...modelOptions() };
        const now = { frame, options, isSample, answer: null };
        submitted = now;
        await result.showFrame(frame);
        result.bringIntoView();
        const least = Math.max(0, Math.min(result.leastScore, (defaultThreshold ?? 0) - SHOWN_BELOW));
        const { answer, tripS } = await patiently(frame, { ...options, score_threshold: least }, stop.signal);
        if (stop.signal.aborted)
            return;
        now.answer = answer;
        result.showAnswer(answer, least, tripS);
        showCurl();
    }
    catch (error) {
        if (!stop.signal.aborted)
            fail(sentenceOf(error));
    }
    finally {
        if (running === stop) {
            running = null;
            runButton.disabled = false;
            stopButton.hidden = true;
            say("");
        }
    }
}
/** Waits where the server says when to come back: it loads its models, or is busy. */
async function patiently(frame, options, signal) {
    say("Looking for instances …");
    for (;;) {
        const began = performance.now();
        const tell = () => say(`Looking for instances … ${seconds(performance.now() - began)}. ${SLOW}`);
        const slow = setInterval(tell, SLOW_MS);
        try {
            const answer = await api.infer(frame, options, signal);
            return { answer, tripS: (performance.now() - began) / 1000 };
        }
        catch (error) {
            if (!(error instanceof api.ServerError) || error.retryAfterS === null)
                throw error;
            clearInterval(slow);
            say(`${capital(error.message)}. This goes on by itself.`);
            await pause(1000 * error.retryAfterS, signal);
        }
        finally {
            clearInterval(slow);
        }
    }
}
function modelOptions() {
    const segmentor = element("segmentor", HTMLSelectElement).value;
    const stability = element("stability", HTMLInputElement).value;
    return {
        ...(segmentor && { segmentor_model: segmentor }),
        ...(stability && { stability_score_thresh: Number(stability) }),
    };
}
function showCurl() {
    if (submitted === null)
        return;
    const { frame, options } = submitted;
    const all = { ...options, score_threshold: result.leastScore };
    element("curl", HTMLPreElement).textContent = curlLine(location.origin, frame, all, submitted.isSample, api.hasKey());
    const key = api.hasKey() ? "ISM_API_KEY must hold the key. " : "";
    const where = submitted.isSample ? "The sample comes from the server." : "To be run in the folder of these files.";
    element("curl-note", HTMLParagraphElement).textContent = key + where;
}
async function copyCurl() {
    const button = element("copy-curl", HTMLButtonElement);
    const line = element("curl", HTMLPreElement);
    try {
        await navigator.clipboard.writeText(line.textContent ?? "");
        button.textContent = "Copied";
    }
    catch {
        // no clipboard over plain HTTP from elsewhere: selected, so that Ctrl-C takes it
        element("curl-details", HTMLDetailsElement).open = true;
        getSelection()?.selectAllChildren(line);
        button.textContent = "Press Ctrl-C";
    }
    setTimeout(() => (button.textContent = "Copy curl"), 2000);
}
/** The answer as curl would get it: with the instances that are shown. */
function downloadJson() {
    if (submitted?.answer == null)
        return;
    const detections = result.detections;
    const shown = { ...submitted.answer, detections, scores: detections.map((one) => one.score) };
    const link = make("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(shown, null, 1)], { type: "application/json" }));
    link.download = `${submitted.frame.rgb.name.replace(/\.[^.]*$/, "")}_ism.json`;
    link.click();
    URL.revokeObjectURL(link.href);
}
function say(text) {
    progress.hidden = text === "";
    progress.textContent = text;
}
function fail(text) {
    message.dataset["kind"] = "error";
    message.hidden = false;
    message.textContent = `${capital(text)}.`;
    message.scrollIntoView({ block: "nearest" });
}
function clear() {
    message.hidden = true;
    message.textContent = "";
}
function seconds(milliseconds) {
    return `${Math.round(milliseconds / 1000)} s so far`;
}
function sentenceOf(error) {
    return error instanceof Error ? error.message : String(error);
}
/** A word gets a capital at the start of a sentence, the name of a file or field does not. */
function capital(text) {
    return /^[a-z]+[ ,:]/.test(text) ? text.charAt(0).toUpperCase() + text.slice(1) : text;
}
function pause(milliseconds, signal) {
    return new Promise((resolve, reject) => {
        const timer = setTimeout(resolve, milliseconds);
        signal.addEventListener("abort", () => {
            clearTimeout(timer);
            reject(new DOMException("stopped", "AbortError"));
        });
    });
}

// The answer: picture and table, each lighting up what the other points at, filtered by score on the spot.
import { depthView, drawLegend } from "./depth_view.js";
import { depthScale } from "./frame_files.js";
import { element, make } from "./page_elements.js";
import { draw, fit, instanceAt, instanceOf, rejectedInstanceOf } from "./picture.js";
import { decodeGray16 } from "./png16.js";
import { fillTable, fillTimings, milliseconds } from "./results.js";
import { withoutExif } from "./exif.js";
const MAX_HEIGHT_SHARE = 0.58; // of the window
const SEEN_SHARE = 0.6;
export class ResultView {
    onThreshold;
    onFurther;
    onError;
    canvas = element("picture", HTMLCanvasElement);
    stage = element("stage", HTMLDivElement);
    threshold = element("threshold", HTMLInputElement);
    pointed = element("under-pointer", HTMLOutputElement);
    scene = null;
    rows = new Map();
    look = { view: "color", showMasks: true, shown: new Set(), lit: null, guess: null };
    bestRejected = null;
    scale = 1;
    askedThreshold = 0;
    drawing = 0;
    /** onThreshold: the least score is another one now. onFurther: worse instances than were requested are wanted.
     * onError: called with what cannot be shown. */
    constructor(onThreshold, onFurther, onError) {
        this.onThreshold = onThreshold;
        this.onFurther = onFurther;
        this.onError = onError;
        this.threshold.addEventListener("input", () => {
            this.filter();
            this.onThreshold();
        });
        for (const radio of document.querySelectorAll("input[name=view]")) {
            radio.addEventListener("change", () => this.setView(radio.value === "depth" ? "depth" : "color"));
        }
        const masks = element("show-masks", HTMLInputElement);
        masks.addEventListener("change", () => {
            this.look.showMasks = masks.checked;
            this.redraw();
        });
        this.canvas.addEventListener("pointermove", (event) => this.point(event));
        this.canvas.addEventListener("pointerdown", (event) => this.point(event));
        this.canvas.addEventListener("click", (event) => this.keepLit(event));
        this.canvas.addEventListener("pointerleave", () => {
            this.light(this.kept(), false);
            this.pointed.textContent = "";
        });
        new ResizeObserver(() => this.redraw()).observe(this.stage);
        drawLegend(element("legend-bar", HTMLCanvasElement));
    }
    get leastScore() {
        return Number(this.threshold.value);
    }
    set leastScore(value) {
        this.threshold.value = String(value);
        this.filter();
    }
    /** Those that are shown, best first. */
    get detections() {
        return [...this.look.shown].map((instance) => instance.detection);
    }
    /** No frame any more. */
    clear() {
        this.scene = null;
        this.canvas.hidden = true;
        element("stage-bar", HTMLDivElement).hidden = true;
        element("answer", HTMLDivElement).hidden = true;
        element("welcome", HTMLDivElement).hidden = false;
    }
    /** The frame alone, its instances still unknown. Throws an Error with a sentence where it cannot be shown. */
    async showFrame(frame) {
        let color;
        try {
            color = await createImageBitmap(await withoutExif(frame.rgb));
        }
        catch {
            throw new Error(`${frame.rgb.name} cannot be decoded: it is damaged, or no image`);
        }
        this.setScene({ color, depth: null, instances: [] });
        element("answer", HTMLDivElement).hidden = true;
        if (frame.depth !== null) {
            try {
                const depth = await decodeGray16(new Uint8Array(await frame.depth.arrayBuffer()));
                const view = depthView(depth, await depthScale(frame.camera));
                if (this.scene?.color !== color)
                    return; // another frame came meanwhile
                this.setScene({ color, depth: view, instances: [] });
                element("legend-near", HTMLSpanElement).textContent = `${view.nearM.toFixed(2)} m`;
                element("legend-far", HTMLSpanElement).textContent = `${view.farM.toFixed(2)} m`;
            }
            catch (error) {
                this.onError(error instanceof Error ? error.message : String(error));
            }
        }
        const depthRadio = element("view-depth", HTMLInputElement);
        depthRadio.disabled = this.scene?.depth === null;
        if (depthRadio.disabled && this.look.view === "depth")
            this.setView("color");
    }
    /** On a narrow screen the picture is below the form. */
    bringIntoView() {
        if (this.stage.getBoundingClientRect().top > SEEN_SHARE * window.innerHeight)
            this.stage.scrollIntoView();
    }
    /** askedThreshold: worse instances were not requested. tripS: from the click to the answer. */
    showAnswer(answer, askedThreshold, tripS) {
        if (this.scene === null)
            return;
        this.askedThreshold = askedThreshold;
        const best = [...answer.detections].sort((a, b) => b.score - a.score);
        const instances = best.map(instanceOf);
        this.rows = fillTable(element("instances", HTMLTableSectionElement), instances, (lit) => this.light(lit ?? this.kept(), false));
        const { width, height } = this.scene.color;
        this.bestRejected = answer.best_rejected ? rejectedInstanceOf(answer.best_rejected, { width, height }) : null;
        this.setScene({ ...this.scene, instances });
        element("warnings", HTMLUListElement).replaceChildren(...(answer.warnings ?? []).map(({ text }) => make("li", "", `${text.charAt(0).toUpperCase()}${text.slice(1)}.`)));
        const stages = Object.entries(answer.stage_times);
        const rest = Math.max(0, tripS - stages.reduce((sum, [, seconds]) => sum + seconds, 0));
        fillTimings(element("timing-bar", HTMLDivElement), element("timing-list", HTMLUListElement), [...stages, ["queue, new objects, transfer", rest]]);
        element("total-time", HTMLSpanElement).textContent = milliseconds(tripS);
        element("answer", HTMLDivElement).hidden = false;
        this.filter();
    }
    setScene(scene) {
        this.scene = scene;
        this.look.lit = null;
        this.look.guess = null;
        this.look.shown = new Set();
        element("welcome", HTMLDivElement).hidden = true;
        element("stage-bar", HTMLDivElement).hidden = false;
        this.canvas.hidden = false;
        this.canvas.setAttribute("aria-label", "The frame");
        this.redraw();
    }
    filter() {
        const least = this.leastScore;
        element("threshold-value", HTMLOutputElement).textContent = least.toFixed(2);
        const instances = this.scene?.instances ?? [];
        this.look.shown = new Set(instances.filter((instance) => instance.detection.score >= least));
        const count = this.look.shown.size;
        this.look.guess = count > 0 ? null : (instances[0] ?? this.bestRejected);
        for (const [instance, row] of this.rows) {
            row.hidden = !this.look.shown.has(instance) && instance !== this.look.guess;
            row.classList.toggle("guess", instance === this.look.guess);
        }
        this.tellGuess();
        const summary = count === 0 ? "No instance" : count === 1 ? "1 instance" : `${count} instances`;
        element("summary", HTMLSpanElement).textContent = summary;
        const below = element("below-asked", HTMLParagraphElement);
        below.hidden = least >= this.askedThreshold;
        below.textContent = `Nothing below ${this.askedThreshold.toFixed(2)} was asked for: find again to see it.`;
        const names = this.detections.map((one) => `${one.class_id} ${one.score.toFixed(2)}`).join(", ");
        const guess = this.look.guess?.detection;
        const best = guess === undefined ? "" : `; the best guess is ${guess.class_id} ${guess.score.toFixed(2)}`;
        this.canvas.setAttribute("aria-label", count === 0 ? `The frame, no instance${best}` : `The frame with ${names}`);
        this.redraw();
    }
    tellGuess() {
        const place = element("best-guess", HTMLParagraphElement);
        const guess = this.look.guess?.detection;
        place.hidden = guess === undefined;
        if (guess === undefined)
            return;
        const least = Math.max(0, Math.floor(100 * guess.score) / 100);
        const show = make("button", "link", `a least score of ${least.toFixed(2)} shows it`);
        show.type = "button";
        show.addEventListener("click", () => {
            this.leastScore = least;
            this.onThreshold();
            if (least < this.askedThreshold)
                this.onFurther();
        });
        place.replaceChildren(`Nothing is as certain as ${this.leastScore.toFixed(2)}. The best guess is `, make("b", "", `${guess.class_id} at ${guess.score.toFixed(2)}`), ", dashed in the picture: ", show, ".");
    }
    setView(view) {
        this.look.view = view;
        element("legend", HTMLDivElement).hidden = view !== "depth";
        const id = view === "depth" ? "view-depth" : "view-color";
        element(id, HTMLInputElement).checked = true;
        this.redraw();
    }
    point(event) {
        if (this.scene === null)
            return;
        const box = this.canvas.getBoundingClientRect();
        const { width, height } = this.scene.color;
        const x = Math.floor(((event.clientX - box.left) / box.width) * width);
        const y = Math.floor(((event.clientY - box.top) / box.height) * height);
        const depthM = this.scene.depth?.depthM(x, y) ?? 0;
        this.pointed.textContent = `${x}, ${y}${depthM > 0 ? ` · ${depthM.toFixed(3)} m` : ""}`;
        this.light(instanceAt(this.look.shown, x, y), true);
    }
    /** The row takes the focus: arrow keys go on from there, and without a hovering pointer it stays lit as well. */
    keepLit(event) {
        this.point(event); // pressing took the focus, and the light, from the row before
        if (this.look.lit !== null)
            this.rows.get(this.look.lit)?.focus({ preventScroll: true });
    }
    /** The instance whose row has the focus. */
    kept() {
        for (const [instance, row] of this.rows)
            if (row === document.activeElement)
                return instance;
        return null;
    }
    light(instance, isFromPicture) {
        if (instance === this.look.lit)
            return;
        this.look.lit = instance;
        for (const [other, row] of this.rows)
            row.classList.toggle("lit", other === instance);
        if (isFromPicture && instance !== null)
            this.rows.get(instance)?.scrollIntoView({ block: "nearest" });
        this.canvas.dataset["lit"] = instance?.detection.class_id ?? "";
        this.redraw();
    }
    redraw() {
        cancelAnimationFrame(this.drawing);
        this.drawing = requestAnimationFrame(() => {
            if (this.scene === null)
                return;
            const room = { width: this.stage.clientWidth, height: window.innerHeight * MAX_HEIGHT_SHARE };
            this.scale = fit(this.canvas, this.scene, room);
            draw(this.canvas, this.scene, this.look, this.scale);
        });
    }
}

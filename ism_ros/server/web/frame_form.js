// The three files of a frame: dropped anywhere, chosen, or the server's sample.
import { isCad, sortFile } from "./frame_files.js";
import { element, make } from "./page_elements.js";
const SLOTS = ["rgb", "depth", "camera"];
const NAMES = { rgb: "color", depth: "depth", camera: "camera" };
export class FrameForm {
    onChange;
    onCad;
    onError;
    files = new Map();
    words = new Map();
    /** onChange: the files are others now. onCad: a CAD file was dropped. onError: called with what is wrong with one. */
    constructor(onChange, onCad, onError) {
        this.onChange = onChange;
        this.onCad = onCad;
        this.onError = onError;
        const input = element("files", HTMLInputElement);
        const drop = element("drop", HTMLDivElement);
        for (const slot of SLOTS) {
            this.words.set(slot, this.fileOf(slot).textContent ?? "");
            const clear = make("button", "link clear", "Clear");
            clear.type = "button";
            clear.setAttribute("aria-label", `Clear ${NAMES[slot]}`);
            clear.addEventListener("click", () => this.clear(slot));
            element(`slot-${slot}`, HTMLLIElement).append(clear);
        }
        element("choose-files", HTMLButtonElement).addEventListener("click", () => input.click());
        input.addEventListener("change", () => {
            void this.take([...(input.files ?? [])]);
            input.value = "";
        });
        document.addEventListener("dragover", (event) => {
            event.preventDefault();
            drop.classList.add("over");
        });
        document.addEventListener("dragleave", (event) => {
            if (event.relatedTarget === null)
                drop.classList.remove("over");
        });
        document.addEventListener("drop", (event) => {
            event.preventDefault();
            drop.classList.remove("over");
            void this.take([...(event.dataTransfer?.files ?? [])]);
        });
    }
    get hasColor() {
        return this.files.has("rgb");
    }
    /** Throws an Error with a sentence where one is missing. */
    frame() {
        const [rgb, camera] = [this.files.get("rgb"), this.files.get("camera")];
        if (rgb === undefined)
            throw new Error("a color image is missing: drop a PNG or JPEG, or use the sample");
        if (camera === undefined) {
            throw new Error('the camera is missing: drop a camera.json with {"cam_K": [9 numbers], "depth_scale": 1.0}');
        }
        return { rgb, depth: this.files.get("depth") ?? null, camera };
    }
    /** The frame as a whole; what was there before goes. */
    async set(frame) {
        this.files.clear();
        await this.put([frame.rgb, ...(frame.depth === null ? [] : [frame.depth]), frame.camera]);
    }
    async take(files) {
        const cad = files.filter(isCad);
        if (await this.put(files.filter((file) => !isCad(file))))
            this.onChange();
        if (cad[0] !== undefined)
            this.onCad(cad[0]);
        if (cad.length > 1)
            this.onError("add one object at a time: of the CAD files the first was taken");
    }
    clear(slot) {
        this.files.delete(slot);
        this.label(slot, undefined);
        element("choose-files", HTMLButtonElement).focus(); // the button that had the focus is hidden now
        this.onChange();
    }
    async put(files) {
        const sorted = [];
        try {
            for (const file of files) {
                const { slot, detail } = await sortFile(file);
                sorted.push([slot, file, `${file.name} · ${detail}`]);
            }
        }
        catch (error) {
            this.onError(error instanceof Error ? error.message : String(error));
            return false;
        }
        const texts = new Map();
        for (const [slot, file, text] of sorted) {
            this.files.set(slot, file);
            texts.set(slot, text);
        }
        for (const slot of SLOTS)
            this.label(slot, texts.get(slot));
        return sorted.length > 0;
    }
    /** text: of a file that is new. */
    label(slot, text) {
        const filled = this.files.has(slot);
        if (text !== undefined || !filled)
            this.fileOf(slot).textContent = text ?? this.words.get(slot) ?? "";
        element(`slot-${slot}`, HTMLLIElement).classList.toggle("filled", filled);
    }
    fileOf(slot) {
        const file = element(`slot-${slot}`, HTMLLIElement).querySelector(".file");
        if (file === null)
            throw new Error(`the page has no place for the file of ${slot}`);
        return file;
    }
}

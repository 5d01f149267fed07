// The three files of a frame: dropped anywhere, chosen, or the server's sample.
import { sortFile } from "./frame_files.js";
import { element } from "./page_elements.js";
const SLOTS = ["rgb", "depth", "camera"];
export class FrameForm {
    onChange;
    onError;
    files = new Map();
    words = new Map();
    /** onChange: the files are others now. onError: told what is wrong with one. */
    constructor(onChange, onError) {
        this.onChange = onChange;
        this.onError = onError;
        const input = element("files", HTMLInputElement);
        const drop = element("drop", HTMLDivElement);
        for (const slot of SLOTS)
            this.words.set(slot, this.fileOf(slot).textContent ?? "");
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
    /** Throws an Error with a sentence where one is missing. */
    frame() {
        const [rgb, camera] = [this.files.get("rgb"), this.files.get("camera")];
        if (rgb === undefined)
            throw new Error("a colour image is missing: drop a PNG or JPEG, or use the sample");
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
        if (await this.put(files))
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
        for (const slot of SLOTS) {
            const filled = this.files.has(slot);
            const text = texts.get(slot);
            if (text !== undefined || !filled)
                this.fileOf(slot).textContent = text ?? this.words.get(slot) ?? "";
            element(`slot-${slot}`, HTMLLIElement).classList.toggle("filled", filled);
        }
        return sorted.length > 0;
    }
    fileOf(slot) {
        const file = element(`slot-${slot}`, HTMLLIElement).querySelector(".file");
        if (file === null)
            throw new Error(`the page has no place for the file of ${slot}`);
        return file;
    }
}

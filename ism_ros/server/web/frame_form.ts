// The three files of a frame: dropped anywhere, chosen, or the server's sample.

import type { Frame } from "./api.js";
import { isCad, sortFile, type Slot } from "./frame_files.js";
import { element, make } from "./page_elements.js";

const SLOTS: Slot[] = ["rgb", "depth", "camera"];
const NAMES: Record<Slot, string> = { rgb: "color", depth: "depth", camera: "camera" };

export class FrameForm {
  private readonly files = new Map<Slot, File>();
  private readonly words = new Map<Slot, string>();

  /** onChange: the files are others now. onCad: a CAD file was dropped. onError: called with what is wrong with one. */
  constructor(
    private readonly onChange: () => void,
    private readonly onCad: (file: File) => void,
    private readonly onError: (message: string) => void,
  ) {
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
      if (event.relatedTarget === null) drop.classList.remove("over");
    });
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      drop.classList.remove("over");
      void this.take([...(event.dataTransfer?.files ?? [])]);
    });
  }

  get hasColor(): boolean {
    return this.files.has("rgb");
  }

  /** Throws an Error with a sentence where one is missing. */
  frame(): Frame {
    const [rgb, camera] = [this.files.get("rgb"), this.files.get("camera")];
    if (rgb === undefined) throw new Error("a color image is missing: drop a PNG or JPEG, or use the sample");
    if (camera === undefined) {
      throw new Error('the camera is missing: drop a camera.json with {"cam_K": [9 numbers], "depth_scale": 1.0}');
    }
    return { rgb, depth: this.files.get("depth") ?? null, camera };
  }

  /** The frame as a whole; what was there before goes. */
  async set(frame: Frame): Promise<void> {
    this.files.clear();
    await this.put([frame.rgb, ...(frame.depth === null ? [] : [frame.depth]), frame.camera]);
  }

  private async take(files: File[]): Promise<void> {
    const cad = files.filter(isCad);
    if (await this.put(files.filter((file) => !isCad(file)))) this.onChange();
    if (cad[0] !== undefined) this.onCad(cad[0]);
    if (cad.length > 1) this.onError("add one object at a time: of the CAD files the first was taken");
  }

  private clear(slot: Slot): void {
    this.files.delete(slot);
    this.label(slot, undefined);
    element("choose-files", HTMLButtonElement).focus(); // the button that had the focus is hidden now
    this.onChange();
  }

  private async put(files: File[]): Promise<boolean> {
    const sorted: [Slot, File, string][] = [];
    try {
      for (const file of files) {
        const { slot, detail } = await sortFile(file);
        sorted.push([slot, file, `${file.name} · ${detail}`]);
      }
    } catch (error) {
      this.onError(error instanceof Error ? error.message : String(error));
      return false;
    }
    const texts = new Map<Slot, string>();
    for (const [slot, file, text] of sorted) {
      this.files.set(slot, file);
      texts.set(slot, text);
    }
    for (const slot of SLOTS) this.label(slot, texts.get(slot));
    return sorted.length > 0;
  }

  /** text: of a file that is new. */
  private label(slot: Slot, text: string | undefined): void {
    const filled = this.files.has(slot);
    if (text !== undefined || !filled) this.fileOf(slot).textContent = text ?? this.words.get(slot) ?? "";
    element(`slot-${slot}`, HTMLLIElement).classList.toggle("filled", filled);
  }

  private fileOf(slot: Slot): HTMLElement {
    const file = element(`slot-${slot}`, HTMLLIElement).querySelector<HTMLElement>(".file");
    if (file === null) throw new Error(`the page has no place for the file of ${slot}`);
    return file;
  }
}

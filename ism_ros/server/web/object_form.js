// What to look for: objects of the server, chosen by a tick, or paths; and new objects from CAD files.
import * as api from "./api.js";
import { element, make } from "./page_elements.js";
/** Of the onboarding that this tab has started, so that it is followed after a reload as well. */
const JOB_KEY = "ism-job";
export class ObjectForm {
    onChange;
    onError;
    list = element("objects", HTMLUListElement);
    ticked = new Map();
    sampleIds = [];
    known = [];
    /** onChange: the choice is another one now. onError: called with what is wrong. */
    constructor(onChange, onError) {
        this.onChange = onChange;
        this.onError = onError;
        const cad = element("cad", HTMLInputElement);
        const id = element("object-id", HTMLInputElement);
        cad.addEventListener("change", () => {
            const name = cad.files?.[0]?.name;
            if (name !== undefined && id.value === "")
                id.value = name.replace(/\.[^.]*$/, "");
        });
        element("upload-object", HTMLButtonElement).addEventListener("click", () => void this.upload());
        for (const path of ["cad-path", "template-dir"]) {
            element(path, HTMLInputElement).addEventListener("input", () => this.show());
        }
    }
    /** A CAD file was dropped on the page: all is ready to add it. */
    offer(file) {
        const transfer = new DataTransfer();
        transfer.items.add(file);
        const details = element("add-object", HTMLDetailsElement);
        details.open = true;
        element("cad", HTMLInputElement).files = transfer.files;
        element("object-id", HTMLInputElement).value = file.name.replace(/\.[^.]*$/, "");
        details.scrollIntoView({ block: "nearest" });
        element("upload-object", HTMLButtonElement).focus();
    }
    /** Goes on showing an onboarding that was running when the page was reloaded. */
    async resume() {
        const jobId = sessionStorage.getItem(JOB_KEY);
        if (jobId === null || element("upload-object", HTMLButtonElement).disabled)
            return;
        try {
            const { object_id: id } = await api.job(jobId);
            element("add-object", HTMLDetailsElement).open = true;
            await this.follow(id, async () => jobId);
        }
        catch (error) {
            // a server that has been restarted does not know it
            if (error instanceof api.ServerError && error.status === 404)
                sessionStorage.removeItem(JOB_KEY);
        }
    }
    /** Asks the server for its objects; those that are new are ticked. */
    async refresh() {
        const known = await api.objects();
        const isNew = JSON.stringify(known) !== JSON.stringify(this.known);
        this.known = known;
        if (isNew)
            this.show(); // else the focus stays where it is
    }
    /** The sample's objects, and no others, are looked for. */
    useSample(ids) {
        this.sampleIds = ids;
        for (const { id } of this.known)
            this.ticked.set(id, false);
        for (const id of ids)
            this.ticked.set(id, true);
        this.show();
    }
    /** The sample's objects are in no other frame. */
    forgetSample() {
        if (this.sampleIds.length === 0)
            return;
        this.sampleIds = [];
        for (const { id } of this.known)
            this.ticked.set(id, true);
        this.show();
    }
    /** Throws an Error with a sentence where nothing is chosen that could be. */
    options() {
        const [cad, templates] = [this.path("cad-path"), this.path("template-dir")];
        if (cad || templates) {
            const units = element("path-units", HTMLSelectElement).value;
            return {
                ...(cad && { cad_path: cad }),
                ...(templates && { template_dir: templates }),
                ...(units && { cad_units: units }),
            };
        }
        const choices = this.choices();
        if (choices.length === 0)
            return {};
        const ids = choices.map(({ id }) => id).filter((id) => this.ticked.get(id));
        if (ids.length === 0)
            throw new Error("no object is chosen: tick at least one");
        return { object_ids: ids };
    }
    path(id) {
        return element(id, HTMLInputElement).value.trim();
    }
    choices() {
        const own = this.known.map(({ id, templates, uploaded }) => ({ id, note: `${templates} views`, uploaded }));
        return [...this.sampleIds.map((id) => ({ id, note: "of the sample", uploaded: false })), ...own];
    }
    show() {
        const choices = this.choices();
        const byPath = Boolean(this.path("cad-path") || this.path("template-dir"));
        this.list.classList.toggle("unused", byPath);
        element("no-objects", HTMLParagraphElement).hidden = choices.length > 0;
        this.list.replaceChildren(...choices.map((choice) => this.item(choice, byPath)));
    }
    item({ id, note, uploaded }, byPath) {
        if (!this.ticked.has(id))
            this.ticked.set(id, this.sampleIds.length === 0);
        const item = make("li");
        const label = make("label", "check");
        const tick = make("input");
        tick.type = "checkbox";
        tick.checked = this.ticked.get(id) === true;
        tick.disabled = byPath;
        tick.addEventListener("change", () => {
            this.ticked.set(id, tick.checked);
            this.onChange();
        });
        label.append(tick, make("span", "id", id), make("span", "note", note));
        item.append(label);
        if (uploaded) {
            const remove = make("button", "link", "Remove");
            remove.type = "button";
            remove.setAttribute("aria-label", `Remove ${id} from the server`);
            remove.addEventListener("click", () => void this.remove(id));
            item.append(remove);
        }
        return item;
    }
    async remove(id) {
        if (!confirm(`Remove ${id} and its files from the server?`))
            return;
        try {
            await api.removeObject(id);
            this.ticked.delete(id);
            await this.refresh();
            this.onChange();
        }
        catch (error) {
            this.onError(error instanceof Error ? error.message : String(error));
        }
    }
    async upload() {
        const cad = element("cad", HTMLInputElement).files?.[0];
        const id = this.path("object-id");
        if (cad === undefined || !id) {
            this.onError(cad === undefined ? "choose the object's CAD file first" : "give the object a name");
            return;
        }
        await this.follow(id, async () => {
            element("job-text", HTMLParagraphElement).textContent = `Sending ${cad.name}`;
            return (await api.addObject(id, cad, element("cad-units", HTMLSelectElement).value)).id;
        });
    }
    /** Shows an onboarding to its end. start: gives its id. */
    async follow(id, start) {
        const button = element("upload-object", HTMLButtonElement);
        const bar = element("job-progress", HTMLProgressElement);
        const text = element("job-text", HTMLParagraphElement);
        element("job", HTMLDivElement).hidden = false;
        button.disabled = true;
        bar.removeAttribute("value");
        try {
            const jobId = await start();
            sessionStorage.setItem(JOB_KEY, jobId);
            for await (const job of api.jobEvents(jobId)) {
                if (job.state === "failed" || job.state === "stopped")
                    throw new Error(job.message || `${id} was given up`);
                if (job.total > 0)
                    bar.value = job.done / job.total;
                text.textContent = job.state === "waiting" ? `${id} waits for its turn` : views(job);
            }
            sessionStorage.removeItem(JOB_KEY);
            bar.value = 1;
            text.textContent = `${id} is ready`;
            this.ticked.set(id, true);
            await this.refresh();
            this.onChange();
        }
        catch (error) {
            sessionStorage.removeItem(JOB_KEY);
            element("job", HTMLDivElement).hidden = true;
            this.onError(error instanceof Error ? error.message : String(error));
        }
        finally {
            button.disabled = false;
        }
    }
}
function views(job) {
    return job.total > 0 ? `${job.object_id}: ${job.done} of ${job.total} views` : `${job.object_id}: reading the file`;
}

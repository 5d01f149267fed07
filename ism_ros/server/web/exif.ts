// Pictures as they are stored. A browser rotates those with an EXIF orientation; the server, and the depth image, do not.

const JPEG_START = 0xffd8;
const JPEG_SCAN = 0xda;
const APP1 = 0xe1;
const PNG_HEAD = 8;
const PNG_START = 0x89504e47;

/** The same picture without its EXIF data, which say how it is to be rotated. */
export async function withoutExif(file: Blob): Promise<Blob> {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const view = new DataView(bytes.buffer);
  if (bytes.length > 4 && view.getUint16(0) === JPEG_START) return without(bytes, jpegExif(view), file.type);
  if (bytes.length > PNG_HEAD && view.getUint32(0) === PNG_START) return without(bytes, pngExif(view), file.type);
  return file;
}

function without(bytes: Uint8Array<ArrayBuffer>, parts: [number, number][], type: string): Blob {
  const kept: Uint8Array<ArrayBuffer>[] = [];
  let from = 0;
  for (const [first, end] of parts) {
    kept.push(bytes.subarray(from, first));
    from = end;
  }
  kept.push(bytes.subarray(from));
  return new Blob(kept, { type });
}

/** First and past-the-last byte of each segment APP1, where EXIF is. */
function jpegExif(view: DataView): [number, number][] {
  const found: [number, number][] = [];
  let at = 2;
  while (at + 4 <= view.byteLength && view.getUint8(at) === 0xff) {
    const kind = view.getUint8(at + 1);
    if (kind === JPEG_SCAN) break;
    const end = at + 2 + view.getUint16(at + 2);
    if (kind === APP1) found.push([at, Math.min(end, view.byteLength)]);
    at = end;
  }
  return found;
}

/** The same of each chunk eXIf. */
function pngExif(view: DataView): [number, number][] {
  const found: [number, number][] = [];
  let at = PNG_HEAD;
  while (at + 12 <= view.byteLength) {
    const end = at + 12 + view.getUint32(at);
    if (view.getUint32(at + 4) === 0x65584966) found.push([at, Math.min(end, view.byteLength)]);
    at = end;
  }
  return found;
}

// What is asked of the server.

const PREVIEW_PX = 1024;

export async function stylize(file, fields, signal) { // fields: the API's, but for the picture
  const body = new FormData();
  for (const [name, value] of Object.entries(fields)) body.append(name, value);
  body.append("picture", file, "picture");
  const response = await fetch("stylize", {method: "POST", body, signal});
  if (response.status === 429) { // others are before us
    await new Promise((resolve) => setTimeout(resolve, 1000 * response.headers.get("Retry-After")));
    signal.throwIfAborted();
    return stylize(file, fields, signal);
  }
  if (!response.ok) throw new Error((await response.json()).detail);
  return response.blob();
}

// Small stylizations of one photograph at full strength, each asked for once. What the strength makes of them is a
// matter of opacity, and takes no request.
export class Previews {
  #entries = new Map(); // by what was asked for: {promise, controller, url}

  constructor(file) { this.file = file; }

  of(fields) { // a promise of an object URL
    const key = JSON.stringify(fields);
    if (!this.#entries.has(key)) this.#entries.set(key, this.#ask(key, fields));
    return this.#entries.get(key).promise;
  }

  #ask(key, fields) {
    const controller = new AbortController(), entry = {controller};
    entry.promise = stylize(this.file, {...fields, size_px: PREVIEW_PX}, controller.signal).then(
      (blob) => (entry.url = URL.createObjectURL(blob)),
      (error) => {
        if (this.#entries.get(key) === entry) this.#entries.delete(key);
        throw error;
      },
    );
    return entry;
  }

  supersede(wanted) { // stop asking for anything else
    const keys = new Set(wanted.map((fields) => JSON.stringify(fields)));
    for (const [key, entry] of this.#entries) if (!entry.url && !keys.has(key)) this.#drop(key, entry);
  }

  drop() {
    for (const [key, entry] of this.#entries) this.#drop(key, entry);
  }

  #drop(key, entry) {
    this.#entries.delete(key);
    entry.controller.abort();
    if (entry.url) URL.revokeObjectURL(entry.url);
  }
}

export async function decoded(file, fields) { // the photograph as an image with an object URL
  const image = new Image();
  image.src = URL.createObjectURL(file);
  try {
    await image.decode();
  } catch { // a TIFF, say: the server reads some formats that browsers do not
    URL.revokeObjectURL(image.src);
    const blob = await stylize(file, {...fields, strength: 0, size_px: PREVIEW_PX}, new AbortController().signal);
    image.src = URL.createObjectURL(blob);
    await image.decode();
  }
  return image;
}

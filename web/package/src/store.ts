import type { Progress, StoredModel } from './types';

/** How a stored file is known to be whole. */
interface Entry {
  bytes: number;
  sha256: string;
}

interface Manifest {
  model: string;
  files: Record<string, Entry>;
}

const MANIFEST = 'manifest.json';

/** The files of model folders in the browser's private file system. Only for workers. */
export class ModelStore {
  private constructor(private readonly root: FileSystemDirectoryHandle) {}

  /** Opens the store; `undefined` where the browser has none or refuses it, as in some private windows. */
  static async open(): Promise<ModelStore | undefined> {
    try {
      const storage = await navigator.storage.getDirectory();
      return new ModelStore(await storage.getDirectoryHandle('models', { create: true }));
    } catch {
      return undefined;
    }
  }

  async list(): Promise<StoredModel[]> {
    const models: StoredModel[] = [];
    for await (const handle of this.root.values()) {
      if (!(handle instanceof FileSystemDirectoryHandle)) continue;
      const manifest = await readManifest(handle);
      const bytes = Object.values(manifest?.files ?? {}).reduce((sum, file) => sum + file.bytes, 0);
      if (manifest) models.push({ model: manifest.model, bytes });
    }
    return models;
  }

  async forget(model: string): Promise<void> {
    await this.root.removeEntry(await hashOf(new TextEncoder().encode(model)), { recursive: true }).catch(ignoreMissing);
  }

  async folder(model: string): Promise<StoredFolder> {
    const handle = await this.root.getDirectoryHandle(await hashOf(new TextEncoder().encode(model)), { create: true });
    return new StoredFolder(handle, (await readManifest(handle)) ?? { model, files: {} });
  }
}

/** The stored files of one model. */
class StoredFolder {
  constructor(
    private readonly handle: FileSystemDirectoryHandle,
    private readonly manifest: Manifest,
  ) {}

  /** Returns a file that is whole, by its checksum; `undefined` for one that is missing, cut off or changed. */
  async read(name: string): Promise<Uint8Array | undefined> {
    const entry = this.manifest.files[name];
    if (!entry) return undefined;
    const bytes = await this.bytes(name);
    if (bytes?.byteLength === entry.bytes && (await hashOf(bytes)) === entry.sha256) return bytes;
    delete this.manifest.files[name];
    return undefined;
  }

  async write(name: string, bytes: Uint8Array): Promise<void> {
    await this.put(name, bytes);
    this.manifest.files[name] = { bytes: bytes.byteLength, sha256: await hashOf(bytes) };
    // Written last: a file without an entry does not count.
    await this.put(MANIFEST, new TextEncoder().encode(JSON.stringify(this.manifest)));
    await this.handle.removeEntry(`${name}.part`).catch(ignoreMissing);
  }

  /** Returns what an earlier download left. */
  async part(name: string): Promise<Uint8Array | undefined> {
    return this.bytes(`${name}.part`);
  }

  async keepPart(name: string, bytes: Uint8Array): Promise<void> {
    await this.put(`${name}.part`, bytes);
  }

  private async bytes(name: string): Promise<Uint8Array | undefined> {
    try {
      const file = await (await this.handle.getFileHandle(name)).getFile();
      return new Uint8Array(await file.arrayBuffer());
    } catch (error) {
      ignoreMissing(error);
      return undefined;
    }
  }

  private async put(name: string, bytes: Uint8Array): Promise<void> {
    const writable = await (await this.handle.getFileHandle(name, { create: true })).createWritable();
    await writable.write(bytes as Uint8Array<ArrayBuffer>);
    await writable.close();
  }
}

/** Fetches the files of a model folder, or takes them from the store. */
export class ModelFolder {
  private constructor(
    private readonly url: string,
    private readonly stored: StoredFolder | undefined,
    private readonly signal: AbortSignal,
    private readonly say: (progress: Progress) => void,
  ) {}

  static async open(url: string, keep: boolean, signal: AbortSignal, say: (progress: Progress) => void): Promise<ModelFolder> {
    const store = keep ? await ModelStore.open() : undefined;
    return new ModelFolder(url.endsWith('/') ? url : `${url}/`, await store?.folder(url), signal, say);
  }

  /** Returns a text file; `undefined` where the folder has none of this name. */
  async text(name: string): Promise<string | undefined> {
    const bytes = await this.bytes(name, true);
    return bytes && new TextDecoder().decode(bytes);
  }

  async bytes(name: string, isOptional = false): Promise<Uint8Array | undefined> {
    const stored = await this.stored?.read(name);
    if (stored) {
      // A file that the folder does not have is stored as an empty one.
      this.say({ phase: 'read', file: name, loaded: stored.byteLength, total: stored.byteLength });
      return stored.byteLength ? stored : undefined;
    }
    const fetched = await this.fetch(name, isOptional);
    try {
      await this.stored?.write(name, fetched ?? new Uint8Array());
    } catch (error) {
      // Not kept: the model works all the same, and the next visit fetches it again.
      console.warn(`sferic: ${name} could not be stored:`, error);
    }
    return fetched;
  }

  private async fetch(name: string, isOptional: boolean): Promise<Uint8Array | undefined> {
    const url = this.url + name;
    const part = (await this.stored?.part(name)) ?? new Uint8Array();
    const headers = part.byteLength ? { Range: `bytes=${part.byteLength}-` } : undefined;
    const response = await fetch(url, { signal: this.signal, ...(headers && { headers }) }).catch((error: unknown) => {
      this.signal.throwIfAborted();
      throw new Error(`${url} could not be fetched: ${String(error)}. Check the connection, then load again; what has arrived is kept.`);
    });
    if (response.status === 404 && isOptional) return undefined;
    if (!response.ok || !response.body) {
      throw new Error(`${url}: expected the file, the server answered ${response.status} ${response.statusText}. Check the address of the model.`);
    }
    const isRest = response.status === 206;
    const length = Number(response.headers.get('Content-Length') ?? NaN);
    const chunks: Uint8Array[] = isRest ? [part] : [];
    let loaded = isRest ? part.byteLength : 0;
    const total = Number.isNaN(length) || response.headers.has('Content-Encoding') ? undefined : loaded + length;
    const reader = response.body.getReader();
    try {
      for (let read; !(read = await reader.read()).done; ) {
        chunks.push(read.value);
        loaded += read.value.byteLength;
        this.say({ phase: 'download', file: name, loaded, ...(total !== undefined && { total }) });
      }
      if (total !== undefined && loaded !== total) throw new Error(`${loaded} of ${total} bytes arrived`);
    } catch (error) {
      await this.stored?.keepPart(name, joined(chunks, loaded)).catch(() => undefined);
      this.signal.throwIfAborted();
      throw new Error(`${url} broke off: ${String(error)}. Load again; what has arrived is kept.`);
    }
    return joined(chunks, loaded);
  }
}

function joined(chunks: Uint8Array[], length: number): Uint8Array {
  const whole = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.byteLength;
  }
  return whole;
}

async function hashOf(bytes: Uint8Array): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes as Uint8Array<ArrayBuffer>));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

async function readManifest(handle: FileSystemDirectoryHandle): Promise<Manifest | undefined> {
  try {
    return JSON.parse(await (await (await handle.getFileHandle(MANIFEST)).getFile()).text()) as Manifest;
  } catch {
    // Missing or broken: its files are fetched again.
    return undefined;
  }
}

function ignoreMissing(error: unknown): void {
  if (!(error instanceof DOMException && error.name === 'NotFoundError')) throw error;
}

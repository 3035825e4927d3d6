import type { StoredModel } from './types';

/** Files are checked, fetched and fetched again by pieces of this length. */
export const PIECE_BYTES = 4 << 20;

/** What is known of a file of a model, whether or not all of it is there. */
export interface Entry {
  bytes: number;
  /** What the server calls this version of the file. */
  tag?: string;
}

interface Manifest {
  version: typeof VERSION;
  model: string;
  files: Record<string, Entry>;
}

const VERSION = 2;
const MANIFEST = 'manifest.json';
/** Beside each file: the SHA-256 of its pieces, one after the other; zeros where a piece is missing. */
const SUMS = '.sums';
const SUM_BYTES = 32;
/** A worker that was ended lets go of its files a little later. */
const [HANDLE_ATTEMPTS, HANDLE_PAUSE_MS] = [40, 50];

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

  /** Bytes that this browser would still take; `undefined` where it does not say. */
  static async free(): Promise<number | undefined> {
    const { quota, usage } = (await navigator.storage?.estimate?.()) ?? {};
    return quota === undefined || usage === undefined ? undefined : Math.max(0, quota - usage);
  }

  async list(): Promise<StoredModel[]> {
    const models: StoredModel[] = [];
    for await (const handle of this.root.values()) {
      if (!(handle instanceof FileSystemDirectoryHandle)) continue;
      const manifest = await readManifest(handle);
      if (!manifest) continue;
      const folder = new StoredFolder(handle, manifest);
      let [bytes, total] = [0, 0];
      for (const [name, entry] of Object.entries(manifest.files)) {
        bytes += (await folder.file(name))?.keptBytes ?? 0;
        total += entry.bytes;
      }
      models.push({ model: manifest.model, bytes, total });
    }
    return models;
  }

  async forget(model: string): Promise<void> {
    await this.root.removeEntry(await folderName(model), { recursive: true }).catch(ignoreMissing);
  }

  async folder(model: string): Promise<StoredFolder> {
    const handle = await this.root.getDirectoryHandle(await folderName(model), { create: true });
    return new StoredFolder(handle, (await readManifest(handle)) ?? { version: VERSION, model, files: {} });
  }
}

/** The stored files of one model. */
export class StoredFolder {
  constructor(
    private readonly handle: FileSystemDirectoryHandle,
    private readonly manifest: Manifest,
  ) {}

  /** Returns a file that an earlier load has begun. */
  async file(name: string): Promise<StoredFile | undefined> {
    const entry = this.manifest.files[name];
    return entry && StoredFile.open(this.handle, name, entry);
  }

  /** Begins a file anew. */
  async create(name: string, entry: Entry): Promise<StoredFile> {
    await this.handle.removeEntry(name + SUMS).catch(ignoreMissing);
    await this.note(name, entry);
    return StoredFile.open(this.handle, name, entry);
  }

  /** Drops what is there of a file. */
  async forget(name: string): Promise<void> {
    await this.note(name, undefined);
    for (const each of [name, name + SUMS]) await this.handle.removeEntry(each).catch(ignoreMissing);
  }

  private async note(name: string, entry: Entry | undefined): Promise<void> {
    if (entry) this.manifest.files[name] = entry;
    else delete this.manifest.files[name];
    const handle = await accessTo(this.handle, MANIFEST);
    try {
      const bytes = new TextEncoder().encode(JSON.stringify(this.manifest));
      handle.truncate(0);
      writeAll(handle, bytes, 0);
    } finally {
      handle.close();
    }
  }
}

/** A file and the checksums of its pieces. */
export class StoredFile {
  private handles: Promise<FileSystemSyncAccessHandle[]> | undefined;

  private constructor(
    private readonly folder: FileSystemDirectoryHandle,
    private readonly name: string,
    readonly entry: Entry,
    /** Where the file stood when it was opened or closed last. */
    private blob: Blob,
    private readonly sums: Uint8Array<ArrayBuffer>,
  ) {}

  static async open(folder: FileSystemDirectoryHandle, name: string, entry: Entry): Promise<StoredFile> {
    const sums = new Uint8Array(pieceCount(entry.bytes) * SUM_BYTES);
    const kept = new Uint8Array(await (await blobOf(folder, name + SUMS)).arrayBuffer());
    if (kept.byteLength <= sums.byteLength) sums.set(kept);
    return new StoredFile(folder, name, entry, await blobOf(folder, name), sums);
  }

  /** Bytes of the pieces that are there, unchecked. */
  get keptBytes(): number {
    let bytes = 0;
    for (let piece = 0; piece < pieceCount(this.entry.bytes); piece++) if (this.has(piece)) bytes += pieceBytes(this.entry.bytes, piece);
    return bytes;
  }

  has(piece: number): boolean {
    return this.sum(piece).some((byte) => byte !== 0);
  }

  /** Returns a piece that is whole by its checksum; `undefined` for one that is missing, cut off or changed. */
  async read(piece: number): Promise<Blob | undefined> {
    if (!this.has(piece)) return undefined;
    const begin = piece * PIECE_BYTES;
    const blob = this.blob.slice(begin, begin + pieceBytes(this.entry.bytes, piece));
    const sum = new Uint8Array(await crypto.subtle.digest('SHA-256', await blob.arrayBuffer()));
    return this.sum(piece).every((byte, at) => byte === sum[at]) ? blob : undefined;
  }

  /** Stores a piece and then its checksum: an interrupted write leaves a piece that does not count. */
  async write(piece: number, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    const sum = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
    this.handles ??= Promise.all([this.name, this.name + SUMS].map((name) => accessTo(this.folder, name)));
    const [data, sums] = (await this.handles) as [FileSystemSyncAccessHandle, FileSystemSyncAccessHandle];
    writeAll(data, bytes, piece * PIECE_BYTES);
    writeAll(sums, sum, piece * SUM_BYTES);
    this.sums.set(sum, piece * SUM_BYTES);
  }

  /** Ends writing. */
  async close(): Promise<void> {
    if (!this.handles) return;
    const handles = await this.handles.catch(() => []);
    this.handles = undefined;
    for (const handle of handles) handle.close();
    this.blob = await blobOf(this.folder, this.name);
  }

  /** Returns the stored bytes of a piece, unchecked. */
  slice(piece: number): Blob {
    const begin = piece * PIECE_BYTES;
    return this.blob.slice(begin, begin + pieceBytes(this.entry.bytes, piece));
  }

  private sum(piece: number): Uint8Array {
    return this.sums.subarray(piece * SUM_BYTES, (piece + 1) * SUM_BYTES);
  }
}

export function pieceCount(bytes: number): number {
  return Math.ceil(bytes / PIECE_BYTES);
}

/** Length of a piece: the last one is shorter. */
export function pieceBytes(bytes: number, piece: number): number {
  return Math.min(PIECE_BYTES, bytes - piece * PIECE_BYTES);
}

/** Opens a file for writing in place. */
async function accessTo(folder: FileSystemDirectoryHandle, name: string): Promise<FileSystemSyncAccessHandle> {
  const file = await folder.getFileHandle(name, { create: true });
  for (let attempt = 1; ; attempt++) {
    try {
      return await file.createSyncAccessHandle();
    } catch (error) {
      const isHeld = error instanceof DOMException && error.name === 'NoModificationAllowedError';
      if (!isHeld || attempt === HANDLE_ATTEMPTS) throw error;
      await new Promise((resolve) => setTimeout(resolve, HANDLE_PAUSE_MS));
    }
  }
}

function writeAll(handle: FileSystemSyncAccessHandle, bytes: Uint8Array<ArrayBuffer>, at: number): void {
  const written = handle.write(bytes, { at });
  // A browser may answer with a number of an error instead of throwing it.
  if (written !== bytes.byteLength) throw Object.assign(new Error(`${bytes.byteLength} bytes could not be written`), { name: 'QuotaExceededError' });
}

/** A file as it is now; an empty one where there is none. */
async function blobOf(folder: FileSystemDirectoryHandle, name: string): Promise<Blob> {
  try {
    return await (await folder.getFileHandle(name)).getFile();
  } catch (error) {
    ignoreMissing(error);
    return new Blob();
  }
}

async function folderName(model: string): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(model)));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

async function readManifest(handle: FileSystemDirectoryHandle): Promise<Manifest | undefined> {
  try {
    const manifest = JSON.parse(await (await (await handle.getFileHandle(MANIFEST)).getFile()).text()) as Manifest;
    return manifest.version === VERSION ? manifest : undefined;
  } catch {
    // Missing or broken: its files are fetched again.
    return undefined;
  }
}

function ignoreMissing(error: unknown): void {
  if (!(error instanceof DOMException && error.name === 'NotFoundError')) throw error;
}

import { Ranges, type WeightFile } from './ranges';
import { RemoteFile } from './remote';
import { ModelStore, type StoredFolder } from './store';
import type { Progress } from './types';

const SINGLE = 'model.safetensors';
const INDEX = 'model.safetensors.index.json';
/** Requests at a time. */
const PARALLEL = 4;

/** What a load wants to know of its folder. */
export interface Folder {
  /** Returns a text file; `undefined` where the folder has none of this name, which is an error for one that is needed. */
  text(name: string, isNeeded?: boolean): Promise<string | undefined>;
  /** Opens the file of weights, or all shards, so far that their headers can be read. */
  weights(): Promise<WeightFile[]>;
  /** Gets what is missing of the weights. */
  complete(): Promise<void>;
  /** Why the model is not kept in this browser, if it was to be. */
  readonly unkept: string | undefined;
}

/** Names the shards of an index. */
function shardNames(where: string, index: string | undefined): string[] {
  if (index === undefined) throw new Error(`${where}: expected a ${SINGLE} or a ${INDEX}, found none. Choose the folder of a model in safetensors.`);
  let shards: unknown[];
  try {
    shards = [...new Set(Object.values((JSON.parse(index) as { weight_map: Record<string, unknown> }).weight_map))];
  } catch (error) {
    throw new Error(`${where}: ${INDEX} has no map of weights (${String(error)}). Get the file again.`);
  }
  // An index must not name files of other folders.
  const odd = shards.find((shard) => typeof shard !== 'string' || !/^[^/\\]+\.safetensors$/.test(shard));
  if (odd !== undefined || !shards.length) throw new Error(`${where}: ${INDEX} names ${JSON.stringify(odd)}, expected safetensors files beside it.`);
  return (shards as string[]).sort();
}

/** A folder behind an address, and what this browser keeps of it. */
export class UrlFolder implements Folder {
  private files: RemoteFile[] = [];
  private fault: unknown;

  private constructor(
    private readonly url: string,
    private readonly stored: StoredFolder | undefined,
    private readonly signal: AbortSignal,
    private readonly say: (progress: Progress) => void,
  ) {}

  static async open(url: string, keep: boolean, signal: AbortSignal, say: (progress: Progress) => void): Promise<UrlFolder> {
    const store = keep ? await ModelStore.open() : undefined;
    const folder = new UrlFolder(url.endsWith('/') ? url : `${url}/`, await store?.folder(url), signal, say);
    if (keep && !store) folder.fault = 'the browser has no storage here';
    return folder;
  }

  get unkept(): string | undefined {
    const fault = this.fault ?? this.files.find((file) => file.fault !== undefined)?.fault;
    return fault === undefined ? undefined : String(fault);
  }

  async text(name: string, isNeeded = false): Promise<string | undefined> {
    const file = await this.file(name, !isNeeded);
    try {
      const blob = await file.whole();
      this.fault ??= file.fault;
      // A file that the folder does not have is stored as an empty one.
      return blob.size ? await blob.text() : undefined;
    } finally {
      await file.close();
    }
  }

  async weights(): Promise<WeightFile[]> {
    const single = await this.file(SINGLE, false);
    // One file wins over an index, as it does elsewhere.
    const isSingle = single.isKnown ? single.bytes > 0 : await single.exists();
    const names = isSingle ? [SINGLE] : shardNames(this.url, await this.text(INDEX));
    this.files = await Promise.all(names.map((name) => (name === SINGLE ? single : this.file(name, false))));
    await this.together(this.files.map((file) => () => file.header()));
    return this.files.map((file) => file.weights());
  }

  async complete(): Promise<void> {
    const { files } = this;
    try {
      const total = files.reduce((sum, file) => sum + file.bytes, 0);
      let loaded = 0;
      for (const file of files) {
        const { name } = file;
        await file.verify((bytes) => this.say({ phase: 'read', file: name, loaded: (loaded += bytes), total }));
      }
      const missing = files.reduce((sum, file) => sum + file.missingBytes, 0);
      if (missing) await this.download(missing, total);
    } finally {
      for (const file of files) await file.close();
    }
  }

  private async download(missing: number, total: number): Promise<void> {
    const free = await ModelStore.free();
    if (this.stored && free !== undefined && missing > free && !this.unkept) {
      const message = `${this.url}: ${megabytes(missing)} are to be kept, this browser has room for ${megabytes(free)}. Delete other models, or load it without keeping it.`;
      throw Object.assign(new Error(message), { name: 'QuotaError' });
    }
    let loaded = total - missing;
    const heard = (name: string) => (bytes: number) => {
      loaded += bytes;
      this.say({ phase: 'download', file: name, loaded, total, ...(free !== undefined && { free }) });
    };
    heard('')(0);
    await this.together(this.files.flatMap((file) => file.spans().map((span) => () => file.fetchAll(span, heard(file.name)))));
  }

  /** Does several things at a time; the first that fails ends the others. */
  private async together(tasks: (() => Promise<void>)[]): Promise<void> {
    const waiting = tasks[Symbol.iterator]();
    const work = async () => {
      for (const task of waiting) await task();
    };
    try {
      await Promise.all(Array.from({ length: PARALLEL }, work));
    } catch (error) {
      for (const file of this.files) file.stop();
      throw error;
    }
  }

  private async file(name: string, isOptional: boolean): Promise<RemoteFile> {
    return RemoteFile.open(this.url, name, isOptional, this.stored, this.signal);
  }
}

/** Files that the visitor has picked. Nothing of them is copied but what is read. */
export class PickedFolder implements Folder {
  readonly unkept = undefined;
  private readonly files = new Map<string, File>();
  private readonly where: string;

  constructor(picked: File[]) {
    // A folder in the folder may hold another model: the outermost configuration says which one is meant.
    const configs = picked.filter((file) => file.name === 'config.json').map(folderOf);
    const folder = configs.sort((a, b) => a.split('/').length - b.split('/').length)[0];
    this.where = folder?.replace(/\/$/, '') || 'the files';
    for (const file of picked) if (folder === undefined || folderOf(file) === folder) this.files.set(file.name, file);
  }

  async text(name: string, isNeeded = false): Promise<string | undefined> {
    const file = this.files.get(name);
    if (!file && isNeeded) throw new Error(`${this.where}: expected a model folder with a ${name}, found none. Pick another folder.`);
    return file?.text();
  }

  async weights(): Promise<WeightFile[]> {
    const names = this.files.has(SINGLE) ? [SINGLE] : shardNames(this.where, await this.text(INDEX));
    return names.map((name) => {
      const file = this.files.get(name);
      if (!file) throw new Error(`${this.where}: ${INDEX} names ${name}, which is missing. Pick the whole folder.`);
      const ranges = new Ranges(file);
      return { name, bytes: file.size, read: (begin, bytes) => ranges.read(begin, bytes) };
    });
  }

  async complete(): Promise<void> {}
}

function folderOf({ webkitRelativePath, name }: File): string {
  return webkitRelativePath.slice(0, Math.max(0, webkitRelativePath.length - name.length));
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

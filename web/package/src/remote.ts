import { Ranges, type WeightFile } from './ranges';
import { PIECE_BYTES, pieceBytes, pieceCount, type StoredFile, type StoredFolder } from './store';

/** Pieces of one request. */
const SPAN = 4;
/** How long a request that broke off waits before it is made again, as long as no piece arrives. */
const PAUSES_MS = [500, 2000];

/** Pieces in a row. */
interface Span {
  from: number;
  to: number;
}

/** A file behind an address, in pieces that are stored, or held in memory where they cannot be. */
export class RemoteFile {
  /** Why pieces are not stored, if they were to be. */
  fault: unknown;
  /** Length of the file, once the server has said it. */
  private known: { bytes: number; tag?: string } | undefined;
  /** Pieces whose bytes are as they were fetched. */
  private pieces: (Blob | 'stored' | undefined)[] = [];
  private hasRanges = true;
  private ranges: Ranges | undefined;
  /** Done when a file that has changed is out of the store. */
  private dropped: Promise<void> | undefined;
  private readonly abort = new AbortController();
  private readonly signal: AbortSignal;

  private constructor(
    private readonly url: string,
    readonly name: string,
    private readonly isOptional: boolean,
    private readonly folder: StoredFolder | undefined,
    private stored: StoredFile | undefined,
    private readonly outer: AbortSignal,
  ) {
    this.known = stored?.entry;
    this.signal = AbortSignal.any([outer, this.abort.signal]);
  }

  static async open(folderUrl: string, name: string, isOptional: boolean, folder: StoredFolder | undefined, signal: AbortSignal): Promise<RemoteFile> {
    return new RemoteFile(folderUrl + name, name, isOptional, folder, await folder?.file(name), signal);
  }

  /** Whether an earlier load has begun it. */
  get isKnown(): boolean {
    return this.known !== undefined;
  }

  get bytes(): number {
    return this.known?.bytes ?? 0;
  }

  /** Bytes that are to be fetched. */
  get missingBytes(): number {
    return this.missing().reduce((sum, piece) => sum + pieceBytes(this.bytes, piece), 0);
  }

  /** Fetches the first piece; returns whether there is such a file. */
  async exists(): Promise<boolean> {
    await this.fetch({ from: 0, to: 1 }, () => undefined, true);
    return this.bytes > 0;
  }

  /** Gets the whole file, a small one. */
  async whole(): Promise<Blob> {
    if (this.known) await this.verify(() => undefined);
    if (!this.known || this.missing().length) await this.fetch({ from: 0, to: Infinity }, () => undefined);
    await this.close();
    return this.blob();
  }

  /** Gets as much as a safetensors header takes. */
  async header(): Promise<void> {
    await this.piece(0);
    const first = this.blob();
    if (first.size < 8) return;
    const length = Number(new DataView(await first.slice(0, 8).arrayBuffer()).getBigUint64(0, true));
    const last = pieceCount(Math.min(this.bytes, 8 + length));
    for (let piece = 1; piece < last; piece++) await this.piece(piece);
  }

  /** Checks what is stored. */
  async verify(heard: (bytes: number) => void): Promise<void> {
    for (let piece = 0; piece < pieceCount(this.bytes); piece++) {
      if (!this.pieces[piece] && (await this.stored?.read(piece))) this.pieces[piece] = 'stored';
      if (this.pieces[piece]) heard(pieceBytes(this.bytes, piece));
    }
  }

  /** What is to be fetched, one request each. */
  spans(): Span[] {
    const missing = this.missing();
    const [first, last] = [missing[0], missing.at(-1)];
    if (first === undefined || last === undefined) return [];
    // Such a server sends everything from the beginning, each time.
    if (!this.hasRanges) return [{ from: first, to: last + 1 }];
    const spans: Span[] = [];
    for (const piece of missing) {
      const span = spans.at(-1);
      if (span && span.to === piece && span.to - span.from < SPAN) span.to++;
      else spans.push({ from: piece, to: piece + 1 });
    }
    return spans;
  }

  /** Fetches pieces, and goes on where a connection breaks off. */
  async fetchAll({ from, to }: Span, heard: (bytes: number) => void): Promise<void> {
    for (let [last, inVain] = [-1, 0]; ; ) {
      const first = this.missing().find((piece) => piece >= from && piece < to);
      if (first === undefined) return;
      if (first > last) [last, inVain] = [first, 0];
      try {
        return await this.fetch({ from: first, to }, heard);
      } catch (error) {
        const pause = PAUSES_MS[inVain++];
        const isBreak = error instanceof Error && error.name === 'BreakError';
        if (!isBreak || pause === undefined || this.signal.aborted) throw error;
        await new Promise((resolve) => setTimeout(resolve, pause));
      }
    }
  }

  /** Fetches pieces; `heard` is called with the bytes of what arrives. */
  async fetch({ from, to }: Span, heard: (bytes: number) => void, isOptional = this.isOptional): Promise<void> {
    const begin = from * PIECE_BYTES;
    const isAll = begin === 0 && to === Infinity;
    const response = await this.request(isAll ? undefined : `bytes=${begin}-${Math.min(to * PIECE_BYTES, this.known?.bytes ?? Infinity) - 1}`);
    if (response.status === 404 && isOptional) return this.learn({ bytes: 0 });
    if (!response.ok || !response.body) {
      response.body?.cancel().catch(() => undefined);
      throw new Error(`${this.url}: expected the file, the server answered ${response.status} ${response.statusText}. Check the address of the model.`);
    }
    // The length that is sent with a whole file may be that of its compressed form; ranges are of the file itself.
    const total = isAll ? undefined : await this.totalOf(response);
    this.hasRanges = response.status === 206;
    const tag = response.headers.get('ETag') ?? response.headers.get('Last-Modified') ?? undefined;
    if (total !== undefined) await this.learn({ bytes: total, ...(tag !== undefined && { tag }) });
    try {
      await this.take(response.body, this.hasRanges ? begin : 0, from, to, heard);
    } catch (error) {
      this.outer.throwIfAborted();
      if (error instanceof Error && error.name === 'ChangedError') throw error;
      throw broken(`${this.url} broke off: ${String(error)}. Load again; what has arrived is kept.`);
    }
  }

  /** Ends the requests of this file. */
  stop(): void {
    this.abort.abort();
  }

  /** Ends writing, so that what is stored can be read. */
  async close(): Promise<void> {
    await this.stored?.close();
    this.ranges = undefined;
  }

  weights(): WeightFile {
    const read = (begin: number, bytes: number) => {
      this.ranges ??= new Ranges(this.blob());
      return this.ranges.read(begin, bytes);
    };
    return { name: this.name, bytes: this.bytes, read };
  }

  private missing(): number[] {
    return Array.from({ length: pieceCount(this.bytes) }, (_, piece) => piece).filter((piece) => !this.pieces[piece]);
  }

  /** Returns the file up to the first piece that is missing. */
  private blob(): Blob {
    const end = Math.min(...this.missing(), pieceCount(this.bytes));
    const { stored } = this;
    return new Blob(Array.from({ length: end }, (_, piece) => this.pieces[piece]).map((piece, at) => (piece === 'stored' && stored ? stored.slice(at) : (piece as Blob))));
  }

  /** Gets a piece from the store, or from the server. */
  private async piece(piece: number): Promise<void> {
    if (!this.pieces[piece] && (await this.stored?.read(piece))) this.pieces[piece] = 'stored';
    if (!this.pieces[piece]) await this.fetch({ from: piece, to: piece + 1 }, () => undefined);
    await this.close();
  }

  private async request(range: string | undefined): Promise<Response> {
    // What we keep, the browser's cache need not keep, too.
    const cache = this.folder ? 'no-store' : 'default';
    return fetch(this.url, { signal: this.signal, cache, ...(range !== undefined && { headers: { Range: range } }) }).catch((error: unknown) => {
      this.outer.throwIfAborted();
      throw broken(`${this.url} could not be fetched: ${String(error)}. Check the connection, then load again; what has arrived is kept.`);
    });
  }

  /** Returns the length of the file; `undefined` where it shows at the end. */
  private async totalOf({ status, headers }: Response): Promise<number | undefined> {
    const length = headers.has('Content-Encoding') ? null : headers.get('Content-Length');
    if (status !== 206) return length === null ? undefined : Number(length);
    const total = headers.get('Content-Range')?.match(/\/(\d+)$/)?.[1];
    if (total !== undefined) return Number(total);
    // Another site's server may keep this header to itself.
    const head = await fetch(this.url, { method: 'HEAD', signal: this.signal });
    return this.totalOf(new Response(null, { status: 200, headers: head.headers }));
  }

  /** Takes the pieces from `from` to `to` out of a stream that begins at `at`. */
  private async take(body: ReadableStream<Uint8Array>, at: number, from: number, to: number, heard: (bytes: number) => void): Promise<void> {
    const reader = body.getReader();
    const end = () => (this.known ? Math.min(to, pieceCount(this.known.bytes)) : to);
    let buffer = new Uint8Array(PIECE_BYTES);
    let piece = Math.floor(at / PIECE_BYTES);
    let filled = 0;
    const finish = async () => {
      if (piece >= from && !this.pieces[piece]) await this.keep(piece, buffer.slice(0, filled));
      [piece, filled] = [piece + 1, 0];
    };
    while (piece < end()) {
      const { done, value } = await reader.read().catch((error: unknown) => {
        // The part of a piece is lost.
        if (piece >= from && !this.pieces[piece]) heard(-filled);
        throw error;
      });
      if (done) break;
      for (let rest = value; rest.byteLength && piece < end(); ) {
        const part = rest.subarray(0, (this.known ? pieceBytes(this.known.bytes, piece) : PIECE_BYTES) - filled);
        buffer.set(part, filled);
        filled += part.byteLength;
        rest = rest.subarray(part.byteLength);
        if (piece >= from && !this.pieces[piece]) heard(part.byteLength);
        if (filled === (this.known ? pieceBytes(this.known.bytes, piece) : PIECE_BYTES)) await finish();
      }
    }
    if (piece < end()) {
      const arrived = piece * PIECE_BYTES + filled;
      // The server has not said how long the file is: it ends here.
      if (this.known) throw new Error(`${arrived} of ${this.known.bytes} bytes arrived`);
      await this.learn({ bytes: arrived });
      if (filled) await finish();
      for (let held = 0; held < this.pieces.length; held++) await this.store(held);
    } else reader.cancel().catch(() => undefined);
  }

  private async keep(piece: number, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    this.pieces[piece] = new Blob([bytes]);
    if (this.known) await this.store(piece, bytes);
  }

  /** Stores a piece; where that fails it stays in memory, and the model works all the same. */
  private async store(piece: number, bytes?: Uint8Array<ArrayBuffer>): Promise<void> {
    const held = this.pieces[piece];
    if (!this.stored || this.fault !== undefined || !(held instanceof Blob)) return;
    try {
      await this.stored.write(piece, bytes ?? new Uint8Array(await held.arrayBuffer()));
      this.pieces[piece] = 'stored';
    } catch (error) {
      this.fault = error;
      console.warn(`sferic: ${this.name} could not be stored:`, error);
    }
  }

  private async drop(): Promise<void> {
    await this.stored?.close();
    await this.folder?.forget(this.name);
  }

  /** Hears length and version of the file from the server. */
  private async learn(entry: { bytes: number; tag?: string }): Promise<void> {
    const { known } = this;
    if (known && (known.bytes !== entry.bytes || (known.tag !== undefined && entry.tag !== undefined && known.tag !== entry.tag))) {
      await (this.dropped ??= this.drop());
      const message = `${this.url} has changed on its server: ${entry.bytes} bytes now, ${known.bytes} when its download began. Load again; it is then fetched anew.`;
      throw Object.assign(new Error(message), { name: 'ChangedError' });
    }
    if (known) return;
    this.known = entry;
    try {
      this.stored = await this.folder?.create(this.name, entry);
    } catch (error) {
      this.fault = error;
      console.warn(`sferic: ${this.name} could not be stored:`, error);
    }
  }
}

/** The error of a connection that another attempt may mend. */
function broken(message: string): Error {
  return Object.assign(new Error(message), { name: 'BreakError' });
}

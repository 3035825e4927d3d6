/** Small ranges are taken out of windows of this length: a read is a message to another process, and a model has thousands of tensors. */
const WINDOW_BYTES = 4 << 20;
const WINDOWS = 4;

/** A file of weights whose bytes are read a range at a time. */
export interface WeightFile {
  name: string;
  bytes: number;
  /** Returns the bytes of a range, until the next call. */
  read(begin: number, bytes: number): Uint8Array;
}

/** Reads ranges of a file without promises, which a worker may. */
export class Ranges {
  /** The windows that were used last, by their number. */
  private readonly windows = new Map<number, Uint8Array>();

  constructor(private readonly blob: Blob) {}

  read(begin: number, bytes: number): Uint8Array {
    const number = Math.floor(begin / WINDOW_BYTES);
    const at = begin - number * WINDOW_BYTES;
    if (at + bytes > WINDOW_BYTES) return this.readNow(begin, bytes);
    const window = this.windows.get(number) ?? this.readNow(number * WINDOW_BYTES, WINDOW_BYTES);
    this.windows.delete(number);
    this.windows.set(number, window);
    const [oldest] = this.windows.keys();
    if (oldest !== undefined && this.windows.size > WINDOWS) this.windows.delete(oldest);
    return window.subarray(at, at + bytes);
  }

  private readNow(begin: number, bytes: number): Uint8Array {
    return new Uint8Array(new FileReaderSync().readAsArrayBuffer(this.blob.slice(begin, begin + bytes)));
  }
}

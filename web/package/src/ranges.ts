/** A file of weights whose bytes are read a range at a time. */
export interface WeightFile {
  name: string;
  bytes: number;
  /** Returns the bytes of a range. */
  read(begin: number, bytes: number): Uint8Array;
}

/** Reads a range of a file without a promise, which a worker may. */
export function readNow(blob: Blob, begin: number, bytes: number): Uint8Array {
  return new Uint8Array(new FileReaderSync().readAsArrayBuffer(blob.slice(begin, begin + bytes)));
}

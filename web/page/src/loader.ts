import { Engine, type Progress } from 'sferic';
import { bytes, element } from './dom';

/** An address, or files that the visitor has picked. */
export type Source = { model: string } | { files: File[] };
export type Device = 'auto' | 'gpu' | 'cpu';

const PHASES = { wait: 'Waiting for another tab', read: 'Checking', download: 'Downloading', upload: 'Putting the weights on the device', compile: 'Compiling shaders' };

let current: AbortController | undefined;

/** Loads a model and says how far it is; `undefined` where another load has taken its place. */
export async function loadEngine(source: Source, device: Device, context?: number): Promise<Engine | undefined> {
  const [loading, bar, phase] = [element('loading'), element<HTMLProgressElement>('progress'), element('phase')];
  const [cancel, again, other] = [element('cancel'), element('load'), element('load-otherwise')];
  current?.abort();
  const place = (current = new AbortController());
  for (let keep = true; ; ) {
    const attempt = new AbortController();
    const end = () => attempt.abort();
    place.signal.addEventListener('abort', end);
    cancel.onclick = end;
    [loading.hidden, cancel.hidden, bar.hidden, again.hidden, other.hidden] = [false, false, false, true, true];
    const meter = new Meter();
    try {
      const engine = await Engine.load({
        ...source,
        device,
        keep,
        ...(context !== undefined && { context }),
        signal: attempt.signal,
        onProgress: (progress) => {
          // Asked for when there is something to keep.
          if (keep && progress.phase === 'download' && meter.isNew(progress)) void navigator.storage?.persist?.();
          phase.textContent = meter.line(progress, bar);
        },
        onRecover: (cause) => (element('stats').textContent = `The device failed (${cause}). Starting again …`),
      });
      if (place.signal.aborted) {
        engine.unload();
        return undefined;
      }
      loading.hidden = true;
      tell(notices(engine, device));
      return engine;
    } catch (error) {
      if (place.signal.aborted) return undefined;
      const isCancelled = attempt.signal.aborted;
      phase.textContent = isCancelled ? 'Cancelled. What has arrived is kept.' : message(error);
      [again.textContent, again.hidden, cancel.hidden, bar.hidden] = [isCancelled ? 'Resume' : 'Try again', false, true, true];
      const isFull = error instanceof Error && error.name === 'QuotaError';
      const isOnGpu = !isCancelled && device !== 'cpu' && (device === 'gpu' || (error instanceof Error && error.name === 'DeviceError'));
      if (isFull) other.textContent = 'Load without keeping it';
      else if (isOnGpu) other.textContent = 'Use the processor';
      other.hidden = !isFull && !isOnGpu;
      const isOther = await new Promise<boolean>((resolve) => {
        again.onclick = () => resolve(false);
        other.onclick = () => resolve(true);
        place.signal.addEventListener('abort', () => resolve(false));
      });
      if (place.signal.aborted) return undefined;
      if (isOther && isFull) keep = false;
      else if (isOther) device = 'cpu';
    }
  }
}

/** Says something that the visitor should know, until it is closed. */
export function tell(text: string): void {
  element('notice').hidden = !text;
  element('notice-text').textContent = text;
}

/** The files of a drop: those of a folder, or the files themselves. */
export async function dropped({ items }: DataTransfer): Promise<File[]> {
  // An item is gone after the first wait.
  const found = [...items].map((item) => ({ entry: item.webkitGetAsEntry?.(), file: item.getAsFile() }));
  const files = await Promise.all(found.map(({ entry, file }) => (entry?.isDirectory ? children(entry as FileSystemDirectoryEntry) : file ? [file] : [])));
  return files.flat();
}

async function children(folder: FileSystemDirectoryEntry): Promise<File[]> {
  const reader = folder.createReader();
  const files: File[] = [];
  for (;;) {
    // A reader gives a hundred at a time, and none when it is through.
    const entries = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (!entries.length) return files;
    const isFile = (entry: FileSystemEntry): entry is FileSystemFileEntry => entry.isFile;
    files.push(...(await Promise.all(entries.filter(isFile).map((entry) => new Promise<File>((resolve, reject) => entry.file(resolve, reject))))));
  }
}

function notices({ info }: Engine, device: Device): string {
  const said: string[] = [];
  if (device !== 'cpu' && info.device.gpu_index === null) {
    const slower = 'the model runs on the processor, which is slower.';
    if (!(navigator as { gpu?: unknown }).gpu) said.push(`This browser has no WebGPU: ${slower} A current Chrome, Edge, Safari or Firefox may have it.`);
    else if (info.reason.includes('no gpu')) said.push(`The browser has found no GPU: ${slower}`);
    else said.push(`The GPU is left out (${info.reason}): ${slower}`);
  }
  if (info.unkept !== undefined) said.push(`The model works, but this browser does not keep it (${info.unkept}): the next visit fetches it again.`);
  return said.join(' ');
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** How fast a phase goes. */
class Meter {
  private phase = '';
  private begin = { at: 0, loaded: 0 };

  isNew({ phase }: Progress): boolean {
    return phase !== this.phase;
  }

  line(progress: Progress, bar: HTMLProgressElement): string {
    const { phase, file = '', loaded, total, free } = progress;
    if (this.isNew(progress)) [this.phase, this.begin] = [phase, { at: performance.now(), loaded }];
    if (total === undefined) bar.removeAttribute('value');
    else bar.value = total ? loaded / total : 1;
    if (phase === 'wait' || phase === 'compile') return `${PHASES[phase]} …`;
    const seconds = (performance.now() - this.begin.at) / 1000;
    const rate = (loaded - this.begin.loaded) / seconds;
    const whole = total === undefined ? '' : ` of ${bytes(total)}`;
    const speed = rate > 0 && Number.isFinite(rate) ? `, ${bytes(rate)}/s` : '';
    const left = speed && total !== undefined ? `, ${Math.ceil((total - loaded) / rate)} s left` : '';
    const room = free === undefined ? '' : ` (this browser has room for ${bytes(free)})`;
    return `${PHASES[phase]}${file && ` ${file}`}: ${bytes(loaded)}${whole}${speed}${left}${room}`;
  }
}

import init, { Engine as WasmEngine } from '../wasm/sferic_web.js';
import type { Answer, EngineEvent, Request } from './protocol';
import { PickedFolder, UrlFolder, type Folder } from './folder';
import type { WeightFile } from './ranges';
import { ModelStore } from './store';
import type { EngineInfo, Progress } from './types';

/** The shortest time between two words on how far a load is: drawing them takes the processor that the load needs. */
const PROGRESS_MS = 100;
/** How long a reply may hold this worker before messages of the page, such as to end it, have their turn. */
const YIELD_MS = 12;

let engine: WasmEngine | undefined;
let panic = '';
const cancels = new Map<number, () => void>();
/** Requests to the engine, one after another. */
let queue: Promise<void> = Promise.resolve();

// A panic reaches the console with its message, and the page as a bare trap.
const error = console.error;
console.error = (...words: unknown[]) => {
  panic = words.join(' ').split('\n\nStack:')[0] ?? '';
  error(...words);
};

const post = (answer: Answer) => postMessage(answer);

onmessage = ({ data }: MessageEvent<Request>) => {
  if (data.type === 'cancel') {
    cancels.get(data.id)?.();
    return;
  }
  queue = queue.then(() => answer(data));
};

async function answer(request: Request): Promise<void> {
  const { id } = request;
  try {
    switch (request.type) {
      case 'load':
        post({ id, type: 'loaded', info: await load(request) });
        break;
      case 'complete':
        await complete(request);
        post({ id, type: 'done' });
        break;
      case 'xray': {
        const xray = JSON.parse(await loaded().xray(request.prompt_tokens)) as Extract<Answer, { type: 'xray' }>['xray'];
        post({ id, type: 'xray', xray });
        break;
      }
      case 'selected':
        post({ id, type: 'selected', selected: request.layers.map((layer) => loaded().selected(layer, request.token)) });
        break;
      case 'stored':
        post({ id, type: 'models', models: (await (await ModelStore.open())?.list()) ?? [] });
        break;
      case 'forget':
        await (await ModelStore.open())?.forget(request.model);
        post({ id, type: 'done' });
        break;
    }
  } catch (failure) {
    const { name, message } = failure instanceof Error ? failure : { name: 'Error', message: String(failure) };
    post({ id, type: 'error', name, message: panic || message });
    panic = '';
  } finally {
    cancels.delete(id);
  }
}

async function load({ id, model, files, device, context, keep }: Request & { type: 'load' }): Promise<EngineInfo> {
  const abort = new AbortController();
  cancels.set(id, () => abort.abort());
  let last: { phase: string; at: number } | undefined;
  const say = (progress: Progress) => {
    const now = performance.now();
    if (last && last.phase === progress.phase && now - last.at < PROGRESS_MS && progress.loaded !== progress.total) return;
    last = { phase: progress.phase, at: now };
    post({ id, type: 'progress', progress });
  };
  await init();
  const options = JSON.stringify({ device, ...(context && { context }) });
  const fetchAll = async (): Promise<Opened> => fetchModel(await UrlFolder.open(model, keep, abort.signal, say), options);
  // One tab at a time: the next one then finds everything in the store.
  if (!files) say({ phase: 'wait', loaded: 0 });
  const opened = files ? await fetchModel(new PickedFolder(files), options) : await navigator.locks.request(`sferic ${model}`, { signal: abort.signal }, fetchAll);
  abort.signal.throwIfAborted();
  engine?.free();
  engine = undefined;
  const heard = (loaded?: number, total?: number) => {
    if (loaded === undefined) say({ phase: 'compile', loaded: 0 });
    else say({ phase: 'upload', loaded, ...(total !== undefined && { total }) });
  };
  try {
    engine = await WasmEngine.open(opened.files, opened.read, options, heard);
  } catch (failure) {
    throw unloaded(failure, opened.needed);
  }
  return { ...(JSON.parse(engine.info()) as EngineInfo), ...(opened.unkept !== undefined && { unkept: opened.unkept }) };
}

/** A folder as the engine opens it. */
interface Opened {
  files: string;
  read: (file: number, begin: number, bytes: number) => Uint8Array;
  unkept: string | undefined;
  /** Bytes that the plan counts on the device. */
  needed: number;
}

/** A failure behind the plan: in a browser, mostly memory that was not there in the end. */
function unloaded(failure: unknown, needed: number): unknown {
  const isTrap = failure instanceof WebAssembly.RuntimeError && !panic;
  if (!(failure instanceof Error) || (!isTrap && failure.name !== 'DeviceError')) return failure;
  // Behind the first line a browser says where in its own code it was.
  const said = isTrap ? 'the module ran out of memory.' : failure.message.split('\n')[0];
  const message = `The model could not be put on the device, and what was there of it is unloaded: ${said} It needs ${(needed / 1e6).toFixed(0)} MB. Close other pages, or choose a shorter context, another device or a smaller model.`;
  return Object.assign(new Error(message), { name: isTrap ? 'MemoryError' : failure.name });
}

/** Gets what a model consists of. Whether it fits is known before its weights are fetched. */
async function fetchModel(folder: Folder, options: string): Promise<Opened> {
  const small = { config: await folder.text('config.json', true), generation_config: await folder.text('generation_config.json') };
  const texts = {
    ...small,
    tokenizer: await folder.text('tokenizer.json'),
    tokenizer_config: await folder.text('tokenizer_config.json'),
    chat_template: await folder.text('chat_template.jinja'),
  };
  const files: WeightFile[] = await folder.weights();
  const weights = files.map(({ name, bytes }) => ({ name, bytes }));
  const read = (file: number, begin: number, bytes: number) => {
    const found = files[file];
    if (!found) throw new Error(`there is no file ${file}`);
    return found.read(begin, bytes);
  };
  const planned = await WasmEngine.plan(JSON.stringify({ ...small, weights }), read, options);
  const { plan, refusal } = JSON.parse(planned) as { plan: EngineInfo['plan']; refusal: string | null };
  if (refusal !== null) throw Object.assign(new Error(refusal), { name: 'MemoryError' });
  await folder.complete();
  return { files: JSON.stringify({ ...texts, weights }), read, unkept: folder.unkept, needed: plan.total_bytes };
}

function loaded(): WasmEngine {
  if (!engine) throw new Error('No model is loaded. Load one first.');
  return engine;
}

async function complete({ id, request }: Request & { type: 'complete' }): Promise<void> {
  const engine = loaded();
  const canceller = engine.canceller();
  cancels.set(id, () => canceller.cancel());
  let lastTurn = performance.now();
  try {
    await engine.complete(JSON.stringify(request), (line: string) => {
      post({ id, type: 'event', event: JSON.parse(line) as EngineEvent });
      if (performance.now() - lastTurn < YIELD_MS) return undefined;
      return turn().then(() => {
        lastTurn = performance.now();
      });
    });
  } finally {
    canceller.free();
  }
}

/** Lets waiting messages have their turn; timers would be held back to 4 ms. */
function turn(): Promise<void> {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}

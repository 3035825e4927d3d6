import init, { Engine as WasmEngine, bench, self_test } from '../wasm/sferic_web.js';
import { addSubgroups, describeAdapter, forModule } from './gpu';
import type { Answer, EngineEvent, Request } from './protocol';
import { PickedFolder, UrlFolder, type Folder } from './folder';
import type { WeightFile } from './ranges';
import type { AdapterFacts, Doing, Verdict } from './reports';
import { ModelStore } from './store';
import type { EngineInfo, Progress, Selected } from './types';
import { keepVerdict, storedVerdict } from './verdicts';

/** The shortest time between two words on how far a load is: drawing them takes the processor that the load needs. */
const PROGRESS_MS = 100;
/** How long a reply may hold this worker before messages of the page, such as to end it, have their turn. */
const YIELD_MS = 12;
/** Two frames, in which the page paints the first word before the device compiles what the next one needs. */
const PAINT_MS = 34;

let engine: WasmEngine | undefined;
let panic = '';
const cancels = new Map<number, () => void>();
/** Requests to the engine, one after another. */
let queue: Promise<void> = Promise.resolve();
/** How many of them are not answered. */
let waiting = 0;

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
  waiting++;
  queue = queue.then(async () => {
    await answer(data);
    waiting--;
    await compileAhead();
  });
};

/** Compiles what replies will need, one shader after the other, until something is asked. */
async function compileAhead(): Promise<void> {
  // What fails says so when it is needed.
  while (!waiting && (await engine?.compile_next().catch(() => false)));
}

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
        post({ id, type: 'selected', selected: request.layers.map((layer) => selected(layer, request.token)) });
        break;
      case 'bench':
        post({ id, type: 'report', report: await measure(request) });
        break;
      case 'self_test':
        post({ id, type: 'verdict', verdict: await judge(request) });
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
  const adapter = device === 'cpu' ? undefined : await adapterOf();
  const verdict = adapter && (await storedVerdict(adapter.key));
  const known = adapter && { subgroups: forModule(adapter).subgroups, ...(verdict && { left_out: verdict.left_out }) };
  // Whoever asks for the GPU gets it all the same.
  const place = verdict?.usable === false && device === 'auto' ? 'cpu' : device;
  const options = JSON.stringify({ device: place, ...known, ...(context && { context }) });
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
  return { ...(JSON.parse(engine.info()) as EngineInfo), ...(opened.unkept !== undefined && { unkept: opened.unkept }), ...(verdict && { verdict }) };
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

/** The adapter, ready to be opened with all that the kernels can use. */
async function adapterOf(): Promise<AdapterFacts | undefined> {
  const adapter = await describeAdapter();
  if (adapter) addSubgroups();
  return adapter;
}

async function measure({ id, options }: Request & { type: 'bench' }): Promise<string> {
  await init();
  const adapter = await adapterOf();
  if (!adapter) throw new Error('This browser offers no WebGPU adapter, which the benchmarks need. Try another browser, or switch on its hardware acceleration.');
  const verdict = await storedVerdict(adapter.key);
  const request = { ...options, adapter: forModule(adapter), left_out: verdict?.left_out ?? 'base' };
  return bench(JSON.stringify(request), doing(id));
}

/** Returns what is known of the adapter, or finds it out; nothing where there is no adapter, or the test was ended. */
async function judge({ id, again }: Request & { type: 'self_test' }): Promise<Verdict | undefined> {
  const adapter = await adapterOf();
  const known = adapter && !again ? await storedVerdict(adapter.key) : undefined;
  if (!adapter || known) return known;
  await init();
  const found = await self_test(JSON.stringify(forModule(adapter)), doing(id));
  if (found === undefined) return undefined;
  const verdict: Verdict = { key: adapter.key, when: Date.now(), ...(JSON.parse(found) as Omit<Verdict, 'key' | 'when'>) };
  await keepVerdict(verdict);
  return verdict;
}

/** Passes on what a run does, and says whether it goes on. */
function doing(id: number): (line: string) => Promise<boolean> {
  let goesOn = true;
  cancels.set(id, () => (goesOn = false));
  return async (line) => {
    post({ id, type: 'doing', doing: JSON.parse(line) as Doing });
    await turn();
    return goesOn;
  };
}

function selected(layer: number, token: number): Selected {
  const engine = loaded();
  const scores = engine.scores(layer, token);
  return { positions: engine.selected(layer, token), ...(scores && { scores }) };
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
  let isPainted = false;
  try {
    await engine.complete(JSON.stringify(request), (line: string) => {
      const event = JSON.parse(line) as EngineEvent;
      post({ id, type: 'event', event });
      if (event.event === 'text' && !isPainted) {
        isPainted = true;
        return new Promise<void>((resolve) => setTimeout(resolve, PAINT_MS));
      }
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

/**
 * Language models with DeepSeek Sparse Attention in the browser.
 *
 * ```js
 * const engine = await Engine.load({ model: 'https://example.org/scout/' });
 * const stream = engine.chat.completions.create({ messages: [{ role: 'user', content: 'Hello!' }], stream: true });
 * for await (const chunk of stream) console.log(chunk.choices[0].delta.content);
 * ```
 */
import type { Answer, EngineEvent, Request } from './protocol';
import type { AttentionOptions, AttentionReport, Doing, KernelOptions, KernelReport, Verdict } from './reports';
import type { ChatChunk, ChatCompletion, ChatRequest, EngineInfo, FinishReason, LoadOptions, Selected, StoredModel, Usage, Xray } from './types';

export { describeAdapter } from './gpu';
export type * from './reports';
export type * from './types';

type Unnumbered<T> = T extends { id: number } ? Omit<T, 'id'> : never;

/** Options of a single call. */
export interface CallOptions {
  signal?: AbortSignal;
}

/** A model in a worker of its own. */
export class Engine {
  /** OpenAI's shape. */
  readonly chat = { completions: { create: this.create.bind(this) as Create } };
  /** Tokens of the last prompt. */
  private promptTokens: number | undefined;

  private constructor(
    private worker: EngineWorker,
    private readonly options: LoadOptions & { model: string },
    /** What the model is and where it runs. */
    public info: EngineInfo,
  ) {}

  /** Fetches a model and opens it. Fails with a message that says what to do; an aborted load with an `AbortError`. */
  static async load(options: LoadOptions): Promise<Engine> {
    const { signal, ...rest } = options;
    return new Engine(...(await openWorker({ ...rest, model: nameOf(options) }, signal)));
  }

  /** The models that this browser keeps. */
  static async stored(): Promise<StoredModel[]> {
    const worker = new EngineWorker();
    try {
      for await (const answer of worker.ask({ type: 'stored' })) {
        if (answer.type === 'models') return answer.models;
      }
      return [];
    } finally {
      worker.end();
    }
  }

  /** Deletes a model from this browser's storage. */
  static async forget(model: string | URL): Promise<void> {
    const worker = new EngineWorker();
    try {
      for await (const answer of worker.ask({ type: 'forget', model: folderUrl(model) })) void answer;
    } finally {
      worker.end();
    }
  }

  /** Looks into the last reply: computes its tokens again and reads what each layer selected for them. */
  async xray(): Promise<Xray> {
    const { worker } = this;
    if (this.promptTokens === undefined) throw new Error('There is no reply to look into. Ask something first.');
    for await (const answer of worker.ask({ type: 'xray', prompt_tokens: this.promptTokens })) {
      if (answer.type !== 'xray') continue;
      const { layers } = answer.xray;
      const selected = async (token: number): Promise<Selected[]> => {
        for await (const rows of worker.ask({ type: 'selected', layers, token })) if (rows.type === 'selected') return rows.selected;
        return [];
      };
      return { ...answer.xray, selected };
    }
    throw new Error('The worker ended before it had looked into the reply.');
  }

  /** Ends the worker and gives its memory back. Replies that are being written fail. */
  unload(): void {
    this.worker.end();
  }

  private create(request: ChatRequest & { stream?: boolean }, options: CallOptions = {}): unknown {
    const { stream = false, ...rest } = request;
    return stream ? this.chunks(rest, options) : this.whole(rest, options);
  }

  private async *chunks(request: ChatRequest, { signal }: CallOptions): AsyncGenerator<ChatChunk, void, undefined> {
    const head = {
      id: `chatcmpl-${crypto.randomUUID()}`,
      object: 'chat.completion.chunk' as const,
      created: Math.floor(Date.now() / 1000),
      model: this.options.model,
    };
    const chunk = (delta: ChatChunk['choices'][0]['delta'], finish_reason: FinishReason | null = null): ChatChunk => ({
      ...head,
      choices: [{ index: 0, delta, finish_reason }],
    });
    yield chunk({ role: 'assistant', content: '' });
    // With a seed the reply can be drawn again behind a failed device.
    const seeded = { seed: Math.floor(Math.random() * 2 ** 32), ...request };
    let said = 0;
    for (let isFirst = true; ; isFirst = false) {
      let heard = 0;
      try {
        for await (const answer of this.worker.ask({ type: 'complete', request: seeded }, signal)) {
          if (answer.type !== 'event') continue;
          const { event } = answer;
          if (event.event === 'prefill') yield { ...chunk({}), prefill: { done: event.done, total: event.total } };
          if (event.event === 'text') {
            const fresh = event.text.slice(Math.max(0, said - heard));
            heard += event.text.length;
            said = Math.max(said, heard);
            if (fresh) yield chunk({ content: fresh });
          }
          if (event.event === 'stop') {
            this.promptTokens = event.stats.prompt_tokens;
            yield { ...chunk({}, finishReason(event.reason)), usage: usageOf(event) };
          }
        }
        return;
      } catch (error) {
        if (!isFirst || !isDeviceFault(error) || signal?.aborted) throw error;
        this.options.onRecover?.(error.message);
        this.worker.end();
        [this.worker, , this.info] = await openWorker(this.options, signal);
      }
    }
  }

  private async whole(request: ChatRequest, options: CallOptions): Promise<ChatCompletion> {
    let content = '';
    for await (const { id, created, model, choices, usage } of this.chunks(request, options)) {
      const [{ delta, finish_reason }] = choices;
      content += delta.content ?? '';
      if (finish_reason && usage) {
        const message = { role: 'assistant' as const, content };
        return { id, object: 'chat.completion', created, model, choices: [{ index: 0, message, finish_reason }], usage };
      }
    }
    throw new Error('The reply ended without a reason.');
  }
}

/** `chat.completions.create`. */
export interface Create {
  (request: ChatRequest & { stream: true }, options?: CallOptions): AsyncGenerator<ChatChunk, void, undefined>;
  (request: ChatRequest & { stream?: false }, options?: CallOptions): Promise<ChatCompletion>;
}

/** The address of a model folder. A model of Hugging Face's site has its files elsewhere. */
function folderUrl(model: string | URL): string {
  const url = new URL(model, globalThis.location?.href);
  const [owner, name, tree = 'tree', revision = 'main', ...rest] = url.pathname.split('/').filter(Boolean);
  if (!['huggingface.co', 'hf.co'].includes(url.hostname) || !owner || !name || tree !== 'tree' || rest.length) return url.href;
  return `https://huggingface.co/${owner}/${name}/resolve/${revision}/`;
}

/** What a model is called: its address, or the folder of its files. */
function nameOf({ model, files }: LoadOptions): string {
  if ((model === undefined) === (files === undefined)) throw new Error('What is to be loaded? Expected the address `model` or the `files` of a folder, one of them.');
  return model === undefined ? (files?.[0]?.webkitRelativePath.split('/')[0] ?? '') || 'files' : folderUrl(model);
}

/** Measures this browser's GPU, in a worker of its own. */
export async function bench(options: KernelOptions): Promise<KernelReport>;
export async function bench(options: AttentionOptions): Promise<AttentionReport>;
export async function bench(options: KernelOptions | AttentionOptions): Promise<KernelReport | AttentionReport>;
export async function bench(options: KernelOptions | AttentionOptions): Promise<KernelReport | AttentionReport> {
  const { onProgress, signal, ...rest } = options;
  const answer = await askOnce({ type: 'bench', options: rest as typeof options }, 'report', { onProgress, signal });
  return JSON.parse(answer.report) as KernelReport | AttentionReport;
}

/**
 * Checks the kernels on this browser's GPU, in a worker of its own, and keeps the verdict: engines that are loaded from then on leave out what
 * fails. A verdict that is kept for the same adapter, browser and build is returned at once, unless it is to be found `again`. Nothing is
 * returned where there is no adapter, or the test was ended by the signal.
 */
export async function selfTest(options: { again?: boolean; onProgress?: (doing: Doing) => void; signal?: AbortSignal } = {}): Promise<Verdict | undefined> {
  const { again = false, onProgress, signal } = options;
  return (await askOnce({ type: 'self_test', again }, 'verdict', { onProgress, signal })).verdict;
}

/** Asks a worker of its own. */
async function askOnce<T extends Answer['type']>(
  request: Unnumbered<Request>,
  type: T,
  { onProgress, signal }: { onProgress: ((doing: Doing) => void) | undefined; signal: AbortSignal | undefined },
): Promise<Answer & { type: T }> {
  const worker = new EngineWorker();
  try {
    for await (const answer of worker.ask(request, signal)) {
      if (answer.type === 'doing') onProgress?.(answer.doing);
      if (answer.type === type) return answer as Answer & { type: T };
    }
    throw new Error('The worker ended before it had answered.');
  } finally {
    worker.end();
  }
}

/** Opens the model in a new worker. */
async function openWorker(options: LoadOptions & { model: string }, signal?: AbortSignal): Promise<[EngineWorker, typeof options, EngineInfo]> {
  const { model, files, device = 'auto', context, keep = true, onProgress } = options;
  signal?.throwIfAborted();
  const worker = new EngineWorker();
  // A worker that is busy hears nothing. What it has stored so far stays.
  const end = () => worker.end();
  signal?.addEventListener('abort', end);
  try {
    const request = { type: 'load' as const, model, device, keep, ...(files && { files }), ...(context !== undefined && { context }) };
    for await (const answer of worker.ask(request)) {
      if (answer.type === 'progress') onProgress?.(answer.progress);
      if (answer.type === 'loaded') return [worker, options, answer.info];
    }
    throw new Error('The worker ended before the model was loaded.');
  } catch (error) {
    worker.end();
    signal?.throwIfAborted();
    throw error;
  } finally {
    signal?.removeEventListener('abort', end);
  }
}

/** Whether a new device may help: the device failed, or the module trapped. */
function isDeviceFault(error: unknown): error is Error {
  return error instanceof Error && (error.name === 'DeviceError' || error.name === 'RuntimeError');
}

/** Questions to a worker and their answers. */
class EngineWorker {
  private readonly worker = new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' });
  private readonly listeners = new Map<number, (answer: Answer) => void>();
  private lastId = 0;

  constructor() {
    this.worker.onmessage = ({ data }: MessageEvent<Answer>) => this.listeners.get(data.id)?.(data);
    this.worker.onerror = ({ message }) => this.fail(`The worker failed: ${message || 'its script could not be loaded'}.`);
  }

  /** Yields the answers to one request and ends behind the last; an abort asks the worker to end it. */
  async *ask(request: Unnumbered<Request>, signal?: AbortSignal): AsyncGenerator<Answer, void, undefined> {
    signal?.throwIfAborted();
    const id = ++this.lastId;
    const answers: Answer[] = [];
    let wake = () => {};
    this.listeners.set(id, (answer) => {
      answers.push(answer);
      wake();
    });
    const cancel = () => this.worker.postMessage({ id, type: 'cancel' } satisfies Request);
    signal?.addEventListener('abort', cancel);
    let isOver = false;
    try {
      this.worker.postMessage({ ...request, id } as Request);
      while (!isOver) {
        const answer = answers.shift();
        if (!answer) {
          await new Promise<void>((resolve) => (wake = resolve));
          continue;
        }
        isOver = answer.type !== 'progress' && answer.type !== 'event' && answer.type !== 'doing';
        if (answer.type === 'error') throw Object.assign(new Error(answer.message), { name: answer.name });
        yield answer;
      }
    } finally {
      signal?.removeEventListener('abort', cancel);
      // Whoever leaves the loop early wants no more of it.
      if (!isOver) cancel();
      this.listeners.delete(id);
    }
  }

  end(): void {
    this.worker.terminate();
    this.fail('The engine was unloaded.');
  }

  private fail(message: string): void {
    for (const [id, listener] of this.listeners) listener({ id, type: 'error', name: 'Error', message });
  }
}

function finishReason(reason: string): FinishReason {
  if (reason === 'cancelled') return 'cancelled';
  return reason === 'eos' || reason === 'stop_string' ? 'stop' : 'length';
}

function usageOf({ stats }: EngineEvent & { event: 'stop' }): Usage {
  const { prompt_tokens, reused_tokens, generated_tokens, time_to_first_token_secs, prefill_secs, decode_secs } = stats;
  return {
    prompt_tokens,
    reused_tokens,
    completion_tokens: generated_tokens,
    total_tokens: prompt_tokens + generated_tokens,
    time_to_first_token_secs,
    prefill_secs,
    decode_secs,
  };
}

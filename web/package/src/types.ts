import type { Verdict } from './reports';

/** A message of a conversation, in OpenAI's words. */
export interface Message {
  role: 'system' | 'user' | 'assistant' | 'tool';
  content: string;
  reasoning_content?: string;
}

/** What the engine is doing while it opens a model. */
export interface Progress {
  /**
   * `wait`: another tab is at it; `read` checks what this browser keeps, `download` fetches the rest, `upload` puts the weights on the
   * device, `compile` makes its programs.
   */
  phase: 'wait' | 'read' | 'download' | 'upload' | 'compile';
  file?: string;
  /** Bytes so far. */
  loaded: number;
  /** Bytes in all; absent where the server does not say. */
  total?: number;
  /** In a download: bytes that this browser would still keep, where it says so. */
  free?: number;
}

/** What to load: `model` or `files`. */
export interface LoadOptions {
  /**
   * Address of a folder in Hugging Face's layout: config.json, tokenizer.json, and model.safetensors or an index with its shards;
   * or of a model there, `https://huggingface.co/OWNER/NAME`.
   */
  model?: string | URL;
  /** The files of such a folder, as a visitor picks or drops them. Nothing of them is kept. */
  files?: File[];
  /** `auto` takes a GPU where there is a real one. */
  device?: 'auto' | 'gpu' | 'cpu';
  /** Tokens of context to make room for; the model's own where absent. */
  context?: number;
  /** Keeps the files in this browser, so that the next visit needs no network. On where absent. */
  keep?: boolean;
  onProgress?: (progress: Progress) => void;
  /** The device has failed, and the model is opened anew; the reply goes on behind what was said. */
  onRecover?: (cause: string) => void;
  signal?: AbortSignal;
}

/** What a model is and where it runs. */
export interface EngineInfo {
  model_type: string;
  n_parameters: number;
  device: { name: string; class: string; api: string; gpu_index: number | null };
  /** Why this device was taken. */
  reason: string;
  runs_on_kernels: boolean;
  plan: { context: number; model_context: number; weight_bytes: number; total_bytes: number };
  warnings: string[];
  /** Memory of the wasm module: the largest it has been so far. */
  wasm_bytes: number;
  /** Why the model is not kept in this browser, where it was to be. */
  unkept?: string;
  /** What an earlier self-test has found of the adapter; the kernels keep to it. */
  verdict?: Verdict;
}

export interface ChatRequest {
  messages: Message[];
  temperature?: number;
  top_p?: number;
  top_k?: number;
  seed?: number;
  max_tokens?: number;
  stop?: string[];
  /** Asks the model to reason before it answers. */
  thinking?: boolean;
}

export interface Usage {
  prompt_tokens: number;
  /** Tokens of the prompt that were not computed again. */
  reused_tokens: number;
  completion_tokens: number;
  total_tokens: number;
  time_to_first_token_secs: number;
  prefill_secs: number;
  decode_secs: number;
}

/** Why a reply ended: an end token, a stop string, the token limit, the end of the context, or because it was asked to. */
export type FinishReason = 'stop' | 'length' | 'cancelled';

export interface ChatChunk {
  id: string;
  object: 'chat.completion.chunk';
  created: number;
  model: string;
  choices: [{ index: 0; delta: { role?: 'assistant'; content?: string }; finish_reason: FinishReason | null }];
  /** Tokens of the prompt computed so far, in chunks before the first text. */
  prefill?: { done: number; total: number };
  /** In the last chunk. */
  usage?: Usage;
}

export interface ChatCompletion {
  id: string;
  object: 'chat.completion';
  created: number;
  model: string;
  choices: [{ index: 0; message: { role: 'assistant'; content: string }; finish_reason: FinishReason }];
  usage: Usage;
}

/** What the model looked at while it wrote the last reply. */
export interface Xray {
  /** All tokens of the conversation as text, the reply's at the end. */
  tokens: string[];
  /** How many of them are the prompt's. */
  prompt_tokens: number;
  /** The layers that select. */
  layers: number[];
  /** Returns what each of `layers` selected to draw the token of the reply with this index. Until the next reply. */
  selected(token: number): Promise<Selected[]>;
}

/** What one layer selected. */
export interface Selected {
  /** Positions in the conversation, descending. */
  positions: Int32Array;
  /** The indexer's scores of them; absent while the kernels select everything, for then they compute none. */
  scores?: Float32Array;
}

/** A model that this browser keeps. */
export interface StoredModel {
  model: string;
  /** Bytes that are there. */
  bytes: number;
  /** Bytes of all its files: more, where a download has not ended. */
  total: number;
}

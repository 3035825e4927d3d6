import type { AttentionOptions, Doing, KernelOptions, Verdict } from './reports';
import type { ChatRequest, EngineInfo, Progress, Selected, StoredModel } from './types';

/** Options without what stays on the page. */
type Ask<T> = Omit<T, 'onProgress' | 'signal'>;

/** What the page asks of its worker; every request has an answer of the same `id`. */
export type Request =
  | { id: number; type: 'load'; model: string; files?: File[]; device: string; context?: number; keep: boolean }
  | { id: number; type: 'complete'; request: ChatRequest }
  | { id: number; type: 'xray'; prompt_tokens: number }
  | { id: number; type: 'selected'; layers: number[]; token: number }
  | { id: number; type: 'bench'; options: Ask<KernelOptions> | Ask<AttentionOptions> }
  | { id: number; type: 'self_test'; again: boolean }
  | { id: number; type: 'stored' }
  | { id: number; type: 'forget'; model: string }
  /** Ends the request `id`, which then answers by itself. */
  | { id: number; type: 'cancel' };

export interface EngineStats {
  prompt_tokens: number;
  reused_tokens: number;
  generated_tokens: number;
  time_to_first_token_secs: number;
  prefill_secs: number;
  decode_secs: number;
}

/** What happens in a reply, as the engine says it. */
export type EngineEvent =
  | { event: 'prefill'; done: number; total: number }
  | { event: 'token'; token_id: number; piece: string; logprob: number }
  | { event: 'text'; text: string }
  | { event: 'stop'; reason: string; stop_string: string | null; stats: EngineStats };

export type Answer =
  | { id: number; type: 'progress'; progress: Progress }
  | { id: number; type: 'event'; event: EngineEvent }
  | { id: number; type: 'doing'; doing: Doing }
  | { id: number; type: 'report'; report: string }
  | { id: number; type: 'verdict'; verdict: Verdict | undefined }
  | { id: number; type: 'loaded'; info: EngineInfo }
  | { id: number; type: 'xray'; xray: { tokens: string[]; prompt_tokens: number; layers: number[] } }
  | { id: number; type: 'selected'; selected: Selected[] }
  | { id: number; type: 'models'; models: StoredModel[] }
  | { id: number; type: 'done' }
  | { id: number; type: 'error'; name: string; message: string };

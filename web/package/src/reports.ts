/** What the browser says of its adapter. */
export interface AdapterFacts {
  name: string;
  /** It computes on the processor. */
  software: boolean;
  features: string[];
  limits: Record<string, number>;
  /** Adapter, browser and build of the module in one text: what a verdict is of. */
  key: string;
}

/** What a benchmark or a self-test does next. */
export interface Doing {
  what: string;
  /** Kernels, or rows, that are done, and how many there are. */
  done: number;
  total: number;
}

/** What a self-test has found. */
export interface Verdict {
  /** The key of {@link AdapterFacts}. */
  key: string;
  /** When it was found, in milliseconds since 1970. */
  when: number;
  /** Features that kernels were chosen for, as in `subgroups+f16`; `base` is none. */
  features: string;
  /** Those without which nothing fails; the engine is opened without them. */
  left_out: string;
  /** Whether the kernels are right without them. Else `auto` takes the processor. */
  usable: boolean;
  failures: { kernel: string; case: string; reason: string }[];
  n_cases: number;
  seconds: number;
}

interface RunOptions {
  /** Samples of which the median is shown; 9 where absent. */
  samples?: number;
  /** Small cases, on which times say little: shows in seconds that everything works. */
  short?: boolean;
  onProgress?: (doing: Doing) => void;
  /** Ends the run; the report then has the rows that there are. */
  signal?: AbortSignal;
}

/** As `sferic bench kernels`. */
export interface KernelOptions extends RunOptions {
  suite: 'kernels';
  /** A part of the kernels' folders or of their cases' names; all where absent. */
  filter?: string;
  tier?: 'base' | 'subgroups' | 'f16' | 'dp4a' | 'coopmat';
}

/** As `sferic bench attention`. */
export interface AttentionOptions extends RunOptions {
  suite: 'attention';
  shape?: 'v32' | 'v2-lite';
  dtype?: 'f16' | 'fp8';
  queries?: number[];
  lengths?: number[];
  prefill?: boolean;
}

export interface KernelRow {
  kernel: string;
  case: string;
  tier: string;
  figures: {
    microseconds: number;
    spread: number;
    gigabytes_per_second: number;
    teraflops: number;
    share_of_copy: number;
    share_of_matrix: number;
  } | null;
  /** Why there are none. */
  reason: string | null;
}

interface Report {
  device: string;
  driver: string;
  api: string;
  features: string;
  copy_gigabytes_per_second: number;
}

/** What `sferic bench kernels --json` writes. */
export interface KernelReport extends Report {
  matrix_teraflops: number;
  rows: KernelRow[];
}

export interface PartFigures {
  microseconds: number;
  spread: number;
  samples: number;
  gigabytes_per_second: number;
  share_of_copy: number;
  teraflops: number;
  spread_megabytes: number;
}

export interface AttentionRow {
  queries: number;
  cached: number;
  figures: { scores: PartFigures; top_k: PartFigures; attention: PartFigures; sparse: PartFigures; dense: PartFigures | null } | null;
  /** Why there are none. */
  reason: string | null;
}

/** What `sferic bench attention --json` writes. */
export interface AttentionReport extends Report {
  shape: { name: string; heads: number; index_heads: number; index_width: number; latent: number; rotated: number; selected: number };
  dtype: string;
  notes: string[];
  rows: AttentionRow[];
  crossovers: { queries: number; cached: number | null }[];
  prefill: AttentionRow | null;
}

//! A reply on its way to standard output.

use crate::output::{dim, print, print_json};
use crate::progress::Progress;
use crate::{failure, interrupt};
use anyhow::Result;
use serde_json::{Value, json};
use sferic_engine::{CancelToken, ChatTurn, EngineError, Event, Generation, Stats, Stop, StopReason};

/// What a continuation and a chat's turn have in common.
pub trait Reply {
    /// The next event, as [`Generation::next`] gives it.
    fn next(&mut self) -> Option<Result<Event, EngineError>>;
    /// The handle that ends the reply.
    fn cancel_token(&self) -> CancelToken;
}

impl Reply for Generation<'_> {
    fn next(&mut self) -> Option<Result<Event, EngineError>> {
        pollster::block_on(self.next())
    }

    fn cancel_token(&self) -> CancelToken {
        self.cancel_token()
    }
}

impl Reply for ChatTurn<'_> {
    fn next(&mut self) -> Option<Result<Event, EngineError>> {
        pollster::block_on(self.next())
    }

    fn cancel_token(&self) -> CancelToken {
        self.cancel_token()
    }
}

/// Writes the reply as it comes, text alone or one JSON object per line, and returns how it ended. Ctrl-C ends it.
///
/// # Errors
/// Those of the engine, and a standard output that cannot be written to. What was written before stays.
pub fn write(reply: &mut impl Reply, as_json: bool) -> Result<Option<Stop>> {
    let _guard = interrupt::cancels(reply.cancel_token());
    let mut progress = Some(Progress::count("reading the prompt"));
    let mut end = None;
    while let Some(event) = reply.next() {
        let event = event?;
        match &event {
            Event::Prefill { done, total } => {
                if let Some(progress) = &mut progress {
                    progress.show(*done as u64, *total as u64);
                }
            }
            _ => progress = None,
        }
        if as_json {
            if let Some(line) = event_line(&event) {
                print_json(&line)?;
            }
        } else if let Event::Text(text) = &event {
            print(text)?;
        }
        if let Event::Stop(stop) = event {
            end = Some(stop);
        }
    }
    Ok(end)
}

/// Says on standard error how the reply ended and how long it took.
pub fn show_stats(stop: &Stop) {
    dim(&stats_line(stop));
}

/// Writes `error` as an event, so that a reader of JSON lines need not look at standard error.
///
/// # Errors
/// A standard output that cannot be written to.
pub fn write_error(error: &anyhow::Error) -> Result<()> {
    let mut lines = failure::lines(error).into_iter();
    let message = lines.next().unwrap_or_default();
    let causes: Vec<String> = lines.collect();
    print_json(&json!({ "event": "error", "message": message, "causes": causes, "exit_code": failure::status_of(error).code() }))
}

fn event_line(event: &Event) -> Option<Value> {
    Some(match event {
        Event::Prefill { done, total } => {
            json!({ "event": "prefill", "done": done, "total": total })
        }
        Event::Token(token) => json!({
            "event": "token",
            "token_id": token.token_id,
            "piece": token.piece,
            "logprob": token.logprob,
            "top_logprobs": token.top_logprobs,
        }),
        Event::Text(text) => json!({ "event": "text", "text": text }),
        Event::Stop(stop) => json!({
            "event": "stop",
            "reason": stop.reason.name(),
            "stop_string": match &stop.reason { StopReason::StopString(text) => Some(text), _ => None },
            "stats": stats(&stop.stats),
        }),
        _ => return None,
    })
}

fn stats(stats: &Stats) -> Value {
    json!({
        "prompt_tokens": stats.prompt_tokens,
        "reused_tokens": stats.reused_tokens,
        "prefilled_tokens": stats.prefilled_tokens,
        "generated_tokens": stats.generated_tokens,
        "seed": stats.seed,
        "time_to_first_token_secs": stats.time_to_first_token_secs,
        "prefill_secs": stats.prefill_secs,
        "decode_secs": stats.decode_secs,
        "prefill_tokens_per_sec": stats.prefill_tokens_per_sec(),
        "decode_tokens_per_sec": stats.decode_tokens_per_sec(),
    })
}

fn stats_line(stop: &Stop) -> String {
    let stats = &stop.stats;
    let mut parts = vec![format!("{} tokens", stats.generated_tokens)];
    parts.extend(stats.decode_tokens_per_sec().map(|rate| format!("{rate:.1} tokens/s")));
    parts.extend(stats.time_to_first_token_secs.map(|secs| format!("first token after {secs:.2} s")));
    parts.push(format!("prompt {} tokens, {} reused", stats.prompt_tokens, stats.reused_tokens));
    parts.push(match &stop.reason {
        StopReason::Eos => "the model ended".to_owned(),
        StopReason::StopString(text) => format!("stopped at {text:?}"),
        StopReason::MaxTokens => "cut at --max-tokens".to_owned(),
        StopReason::Cancelled => "cancelled".to_owned(),
        StopReason::ContextFull => "the context is full".to_owned(),
    });
    format!("[{}]", parts.join(" · "))
}

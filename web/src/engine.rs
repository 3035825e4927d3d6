//! The engine as a page's worker sees it: strings of JSON in, a call for each event out.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use js_sys::{Function, Promise};
use serde::Deserialize;
use serde_json::{Value, json};
use sferic_engine::{
    CancelToken, Chat, ChatOptions, EngineOptions, Event, LoadProgress, Message, SamplingParams, Selected, Stop, StopReason,
    inspect_parts,
};
use wasm_bindgen::JsCast;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use crate::files::{self, Files};

/// A model on this browser's GPU, or on one thread of its processor.
#[wasm_bindgen]
pub struct Engine {
    engine: sferic_engine::Engine,
    /// The last conversation: the next prompt mostly begins like it.
    chat: Option<Chat>,
    canceller: Canceller,
    /// What each layer selected for the tokens of the last reply.
    selections: BTreeMap<usize, Selected>,
}

/// Ends the reply that is being written. A handle of its own, for the engine is in use then.
#[wasm_bindgen]
#[derive(Clone, Default)]
pub struct Canceller(Rc<RefCell<Option<CancelToken>>>);

#[wasm_bindgen]
impl Canceller {
    /// Asks the reply to end; it does within a token, or a chunk of the prompt.
    pub fn cancel(&self) {
        if let Some(token) = self.0.borrow().as_ref() {
            token.cancel();
        }
    }
}

/// How the engine is opened.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Opening {
    device: Option<String>,
    context: Option<usize>,
    /// Features that no kernel may use, `dp4a` or `subgroups+f16`.
    left_out: Option<String>,
    /// Whether the page has asked the adapter for subgroups and got them.
    subgroups: bool,
}

impl Opening {
    pub(crate) fn into_options(self) -> Result<EngineOptions, String> {
        let Self { device, context, left_out, subgroups } = self;
        let device = device.as_deref().unwrap_or("auto").parse().map_err(|error| format!("options.device: {error}"))?;
        let left_out = left_out.as_deref().unwrap_or("base").parse().map_err(|error| format!("options.left_out: {error}"))?;
        Ok(EngineOptions { device, max_context: context, left_out, browser_subgroups: subgroups, ..EngineOptions::default() })
    }
}

/// A request in OpenAI's words; what is left out is the model's own.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    messages: Vec<Message>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    top_k: Option<usize>,
    seed: Option<u64>,
    max_tokens: Option<usize>,
    #[serde(default)]
    stop: Vec<String>,
    #[serde(default)]
    thinking: bool,
}

#[wasm_bindgen]
impl Engine {
    /// Says what a model needs and whether the device has it, before anything is loaded. Returns JSON.
    ///
    /// `files` and `options` are JSON; `read(file, begin, bytes)` returns bytes of the weights, of which the headers are read.
    ///
    /// # Errors
    /// A message that names what is wrong; a model that does not fit is none.
    pub async fn plan(files: String, read: Function, options: String) -> Result<String, Fault> {
        console_error_panic_hook::set_once();
        let files: Files = parse("files", &files)?;
        let options = parse::<Opening>("options", &options)?.into_options()?;
        let inspection = inspect_parts(files.parts(read).map_err(message)?, &options).await;
        files::end_reading();
        let inspection = inspection.map_err(message)?;
        Ok(json!({
            "n_parameters": inspection.n_parameters,
            "device": inspection.device,
            "plan": inspection.plan,
            "refusal": inspection.fits.err().map(|error| message(error).message),
        })
        .to_string())
    }

    /// Opens a model. `files`, `read` and `options` are those of [`Engine::plan`]; a tensor at a time is in the module's memory.
    /// `on_progress` is called with bytes on the device and in all, and with nothing while the last shaders of a first prompt are compiled.
    ///
    /// # Errors
    /// A message that names what is wrong.
    pub async fn open(files: String, read: Function, options: String, on_progress: Function) -> Result<Engine, Fault> {
        console_error_panic_hook::set_once();
        let files: Files = parse("files", &files)?;
        let options = parse::<Opening>("options", &options)?.into_options()?;
        let parts = files.parts(read).map_err(message)?;
        let mut progress = |LoadProgress { loaded_bytes, total_bytes }| {
            // A page that does not listen misses nothing.
            let _ = on_progress.call2(&JsValue::NULL, &(loaded_bytes as f64).into(), &(total_bytes as f64).into());
        };
        let engine = sferic_engine::Engine::from_parts_with_progress(parts, options, &mut progress).await;
        files::end_reading();
        let engine = engine.map_err(message)?;
        if engine.runs_on_kernels() {
            let _ = on_progress.call0(&JsValue::NULL);
            engine.prepare().await.map_err(message)?;
        }
        Ok(Engine { engine, chat: None, canceller: Canceller::default(), selections: BTreeMap::new() })
    }

    /// Compiles one more of the shaders that a reply needs; returns whether there was one left. For when nothing is asked.
    ///
    /// # Errors
    /// A message of the device.
    pub async fn compile_next(&self) -> Result<bool, Fault> {
        self.engine.compile_next().await.map_err(message)
    }

    /// What ends a reply.
    pub fn canceller(&self) -> Canceller {
        self.canceller.clone()
    }

    /// What the model is and where it runs, as JSON.
    pub fn info(&self) -> String {
        let device = self.engine.device();
        let config = self.engine.config();
        json!({
            "model_type": config.model_type.name(),
            "n_parameters": config.n_parameters(),
            "device": device.info,
            "reason": device.reason,
            "runs_on_kernels": self.engine.runs_on_kernels(),
            "plan": self.engine.plan(),
            "warnings": self.engine.warnings(),
            "wasm_bytes": core::arch::wasm32::memory_size::<0>() << 16,
        })
        .to_string()
    }

    /// Answers the request, JSON in the fields of OpenAI's chat completions, and calls `on_event` with JSON for everything that happens.
    /// Where that returns a promise, the reply waits for it: so the page's own events have their turn.
    ///
    /// # Errors
    /// A message that names what is wrong; the engine stays usable.
    pub async fn complete(&mut self, request: String, on_event: Function) -> Result<(), Fault> {
        let Request { messages, temperature, top_p, top_k, seed, max_tokens, stop, thinking } = parse("request", &request)?;
        let own = self.engine.default_sampling();
        let params = SamplingParams {
            temperature: temperature.unwrap_or(own.temperature),
            top_p: top_p.unwrap_or(own.top_p),
            top_k: top_k.unwrap_or(own.top_k),
            max_tokens: max_tokens.or(own.max_tokens),
            seed: seed.or(own.seed),
            stop,
            ..own
        };
        let options = ChatOptions { messages, thinking, ..ChatOptions::default() };
        let chat = match &mut self.chat {
            Some(chat) => chat,
            none => none.insert(self.engine.chat(ChatOptions::default()).map_err(message)?),
        };
        chat.replace(options);
        let mut turn = chat.reply(params).map_err(message)?;
        *self.canceller.0.borrow_mut() = Some(turn.cancel_token());
        while let Some(event) = turn.next().await {
            let Some(line) = line(&event.map_err(message)?) else { continue };
            let answer = on_event.call1(&JsValue::NULL, &line.to_string().into());
            let answer = answer.map_err(|error| format!("on_event: {error:?}"))?;
            if let Ok(promise) = answer.dyn_into::<Promise>() {
                JsFuture::from(promise).await.map_err(|error| format!("on_event: {error:?}"))?;
            }
        }
        Ok(())
    }

    /// Looks into the last conversation: returns JSON with its tokens as text, the number of those of the prompt, and the layers that select.
    /// What they selected for a token of the reply is what [`Engine::selected`] returns until the next reply.
    ///
    /// # Errors
    /// A message when there is no reply yet, or the device fails.
    pub async fn xray(&mut self, prompt_tokens: usize) -> Result<String, Fault> {
        let chat = self.chat.as_mut().ok_or_else(|| "there is no reply to look into".to_owned())?;
        let session = chat.session_mut();
        // A token is drawn from what the token before it selected.
        self.selections = session.selections(prompt_tokens.saturating_sub(1)).await.map_err(message)?;
        let tokenizer = self.engine.tokenizer().map_err(message)?;
        let tokens: Vec<String> = session.tokens().iter().map(|id| tokenizer.decode(&[*id], false).unwrap_or_default()).collect();
        let layers: Vec<usize> = self.selections.keys().copied().collect();
        Ok(json!({ "tokens": tokens, "prompt_tokens": prompt_tokens, "layers": layers }).to_string())
    }

    /// The positions that a layer selected to draw the token of the reply with this index, descending.
    pub fn selected(&self, layer: usize, token: usize) -> Vec<i32> {
        let row = self.selections.get(&layer).map(|selected| selected.positions.row(token)).unwrap_or_default();
        row.iter().copied().filter(|&position| position >= 0).collect()
    }

    /// The index scores of these positions; nothing where there are none.
    pub fn scores(&self, layer: usize, token: usize) -> Option<Vec<f32>> {
        let selected = self.selections.get(&layer)?;
        let n = selected.positions.row(token).iter().filter(|&&position| position >= 0).count();
        selected.scores.as_ref().map(|scores| scores.row(token).iter().copied().take(n).collect())
    }
}

pub(crate) fn parse<'a, T: Deserialize<'a>>(what: &str, text: &'a str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| format!("{what}: {error}"))
}

/// What goes to the page as an `Error`.
pub struct Fault {
    name: &'static str,
    message: String,
}

impl Fault {
    pub(crate) fn new(name: &'static str, message: String) -> Self {
        Self { name, message }
    }
}

impl From<String> for Fault {
    fn from(message: String) -> Self {
        Self { name: "Error", message }
    }
}

impl From<Fault> for JsValue {
    fn from(Fault { name, message }: Fault) -> Self {
        let error = js_sys::Error::new(&message);
        error.set_name(name);
        error.into()
    }
}

/// The error with its causes. A failed device has a name of its own, since a new one may do.
pub(crate) fn message(error: sferic_engine::EngineError) -> Fault {
    let name = if matches!(error, sferic_engine::EngineError::Device { .. }) { "DeviceError" } else { "Error" };
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    Fault { name, message: text }
}

fn line(event: &Event) -> Option<Value> {
    Some(match event {
        Event::Prefill { done, total } => json!({ "event": "prefill", "done": done, "total": total }),
        Event::Token(token) => {
            json!({ "event": "token", "token_id": token.token_id, "piece": token.piece, "logprob": token.logprob })
        }
        Event::Text(text) => json!({ "event": "text", "text": text }),
        Event::Stop(Stop { reason, stats }) => json!({
            "event": "stop",
            "reason": reason.name(),
            "stop_string": match reason { StopReason::StopString(text) => Some(text), _ => None },
            "stats": stats,
        }),
        _ => return None,
    })
}

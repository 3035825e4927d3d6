//! Replies to many conversations at a time.

use super::Chat;
use crate::batch::{Asked, BatchReply};
use crate::sampler::SamplingParams;
use crate::session::Output;
use crate::{Engine, EngineError};

impl Engine {
    /// Replies to each of `chats`, which are of this engine, with `params` and each with its own of `seeds`; the replies become messages, as those of
    /// [`Chat::reply`] do, and come back in tokens. They are computed together as those of [`Engine::generate_batch`]; the sessions of the
    /// conversations are not used.
    ///
    /// # Errors
    /// Those of [`Chat::prompt_ids`] and [`Engine::generate_batch`]; the conversations are unchanged then.
    pub async fn reply_batch(
        &self,
        chats: &mut [Chat],
        params: &SamplingParams,
        seeds: &[u64],
    ) -> Result<Vec<BatchReply>, EngineError> {
        let prompts = chats.iter().map(Chat::prompt_ids).collect::<Result<Vec<_>, _>>()?;
        let mut params = params.clone();
        params.stop.extend(self.prompt_format()?.stop_strings().iter().map(|stop| (*stop).to_owned()));
        let asked = Asked { prompts: &prompts, params: &params, seeds, experts: false, shows_special: true };
        let replies = self.replies(asked).await?;
        let texts = replies.iter().map(|reply| self.text_of(reply, &params)).collect::<Result<Vec<_>, _>>()?;
        for (chat, text) in chats.iter_mut().zip(texts) {
            chat.messages.push(self.prompt_format()?.parse(&text, chat.thinking).into_message());
        }
        Ok(replies)
    }

    /// The text of a reply with its special tokens, without the end token and the stop string.
    fn text_of(&self, reply: &BatchReply, params: &SamplingParams) -> Result<String, EngineError> {
        let mut output = Output::new(self, params)?;
        output.show_special_tokens();
        let mut text = String::new();
        for token_id in reply.token_ids.iter().filter(|token_id| !self.end_tokens().contains(token_id)) {
            let (piece, stop) = output.push(*token_id)?;
            text.push_str(&piece);
            if stop.is_some() {
                return Ok(text);
            }
        }
        text.push_str(&output.finish());
        Ok(text)
    }
}

#[cfg(test)]
#[path = "together_tests.rs"]
mod tests;

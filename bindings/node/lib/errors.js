'use strict';

/**
 * An operation was not done; nothing is half-done after it. `code` is for programs, `hint` says what to do (the message does
 * not, so that who shows both says it once), `retryable` whether the same call may succeed later.
 */
class RejoinError extends Error {
  constructor(code, message, { hint = null, retryable = false } = {}) {
    super(message);
    this.name = 'RejoinError';
    this.code = code;
    this.hint = hint;
    this.retryable = retryable;
  }
}

/** An option of `createServer`, or an argument of a method, is not what it has to be. `option` names it. */
class OptionError extends TypeError {
  constructor(option, problem) {
    super(`"${option}" ${problem}`);
    this.name = 'OptionError';
    this.code = 'invalid_option';
    this.option = option;
  }
}

/** A value for a message: short, on one line, whatever it is. */
function shown(value) {
  let text;
  try {
    text = typeof value === 'string' ? JSON.stringify(value) : typeof value === 'object' ? JSON.stringify(value) : String(value);
  } catch {
    text = undefined;
  }
  text ??= Object.prototype.toString.call(value);
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}

/** Tells a person about something that no caller can be told of. */
function warn(code, message) {
  process.emitWarning(message, { type: 'RejoinWarning', code });
}

module.exports = { RejoinError, OptionError, shown, warn };

import type { AgentErrorCode } from "./agent-protocol.ts";

/** An answer of the agent that is an error, with what to do about it. */
export class AgentError extends Error {
  readonly code: AgentErrorCode;
  readonly remedy: string;

  constructor(code: AgentErrorCode, message: string, remedy: string) {
    super(message);
    this.name = "AgentError";
    this.code = code;
    this.remedy = remedy;
  }
}

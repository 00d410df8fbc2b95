import type { AgentErrorCode } from "./agent-protocol.ts";

/** An error reply of the agent, with a remedy. */
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

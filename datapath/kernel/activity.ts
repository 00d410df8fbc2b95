/** When a session last received: the kernel counts frames and keeps no time. */
export class Activity {
  readonly #seen = new Map<string, { rxPackets: number; at: number }>();

  /** Milliseconds, as good as we look often; null: nothing has been received yet. */
  lastReceivedMsAgo(session: string, rxPackets: number): number | null {
    const now = performance.now();
    const before = this.#seen.get(session);
    if (before?.rxPackets !== rxPackets) this.#seen.set(session, { rxPackets, at: now });
    if (rxPackets === 0) return null;
    return before?.rxPackets === rxPackets ? Math.round(now - before.at) : 0;
  }

  /** Forgets all other sessions. */
  keep(sessions: ReadonlySet<string>): void {
    for (const session of this.#seen.keys()) if (!sessions.has(session)) this.#seen.delete(session);
  }
}

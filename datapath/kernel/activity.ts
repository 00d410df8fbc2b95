/** Tracks when a session last received a frame: the kernel counts frames, but does not store the time. */
export class Activity {
  readonly #seen = new Map<string, { rxPackets: number; at: number }>();

  /** Returns milliseconds, as precise as the interval between calls; null: no frame received yet. */
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

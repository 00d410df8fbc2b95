/** Runs tasks one at a time, in order of arrival. */
export class Mutex {
  #last: Promise<unknown> = Promise.resolve();

  run<T>(task: () => Promise<T>): Promise<T> {
    const result = this.#last.then(task, task);
    // The caller sees the error; the next task does not.
    this.#last = result.catch(() => {});
    return result;
  }
}

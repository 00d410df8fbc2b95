import { expect, it } from "vitest";
import { describeProblem } from "../../model/problem.ts";
import { type Fault, problemsOf, SAMPLES } from "./testdata.ts";

const FOUND_BY: Readonly<Record<Fault, string>> = {
  schema: "the schema",
  cel: "a CEL rule",
  strict: "strict field validation",
  ours: "controller or agent only",
};

const HEAD = `# Rejections

You get here: every invalid sample object of the tests (\`testdata.ts\`), and the messages with which the controller, or an agent with a
folder, rejects it. Read it after a change of a rule or a description. The column "found by" says which check of the API server
rejects the sample. To update the file: \`vitest run --project unit operator/api/rejections.test.ts -u\`.

| kind | sample | found by | messages |
|---|---|---|---|
`;

it("has an up-to-date list of all messages: rejections.md", async () => {
  const rows = SAMPLES.flatMap((sample) => {
    if (sample.fault === null) return [];
    const messages = problemsOf(sample).map((problem) => `\`${describeProblem(problem)}\``);
    const cells = [sample.kind, sample.name, FOUND_BY[sample.fault], messages.join("<br>")];
    return `| ${cells.join(" | ")} |\n`;
  });
  await expect(HEAD + rows.join("")).toMatchFileSnapshot("rejections.md");
});

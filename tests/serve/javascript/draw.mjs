// Draws with one version of the client: node draw.mjs VERSION BASE_URL TOKEN. Prints what it got as JSON.

const [version, base, token] = process.argv.slice(2);
const url = `${base}/models/crumb`;
const parameters = { seed: 3, num_inference_steps: 1, width: 64, height: 64 };

async function draw(accessToken, more = {}) {
  if (version === "2") {
    const { HfInference } = await import("inference-2");
    return new HfInference(accessToken).textToImage({ model: url, inputs: "a cat", parameters, ...more });
  }
  const { InferenceClient } = await import("inference-4");
  return new InferenceClient(accessToken).textToImage({ endpointUrl: url, inputs: "a cat", parameters, ...more });
}

async function change(accessToken, image) {
  const asked = { inputs: image, parameters: { prompt: "a dog", num_inference_steps: 2, strength: 0.5 } };
  if (version === "2") {
    const { HfInference } = await import("inference-2");
    return new HfInference(accessToken).imageToImage({ model: url, ...asked });
  }
  const { InferenceClient } = await import("inference-4");
  return new InferenceClient(accessToken).imageToImage({ endpointUrl: url, ...asked });
}

async function described(promise) {
  try {
    const blob = await promise;
    const bytes = Buffer.from(await blob.arrayBuffer());
    return { type: blob.type, size: bytes.length, start: bytes.subarray(0, 4).toString("hex"), base64: bytes.toString("base64") };
  } catch (error) {
    return { error: `${error.name}: ${error.message}` };
  }
}

const first = await described(draw(token));
const image = new Blob([Buffer.from(first.base64 ?? "", "base64")], { type: first.type });
console.log(
  JSON.stringify({
    first,
    again: await described(draw(token)),
    changed: await described(change(token, image)),
    stranger: await described(draw("hf_nobody")),
  }),
);

"""Records questions and their log-probabilities under gpt2-tiny, computed one by one in PyTorch in float64 (Debian 13: python3-torch).

    python3 make.py ../models/gpt2-tiny .
"""
import array, json, math, random, statistics, struct, sys
import torch

model, target = sys.argv[1:3]
config = json.load(open(model + "/config.json"))
raw = open(model + "/model.safetensors", "rb").read()
size = struct.unpack("<Q", raw[:8])[0]
weights = {}
for name, entry in json.loads(raw[8:8 + size]).items():
    if name != "__metadata__":
        first, last = entry["data_offsets"]
        weights[name.removeprefix("transformer.")] = torch.frombuffer(bytearray(raw[8 + size + first:8 + size + last]), dtype=torch.float32).view(entry["shape"]).double()
width, heads, layers, vocabulary, positions = (config[key] for key in ("n_embd", "n_head", "n_layer", "vocab_size", "n_positions"))


def norm(x, name):
    return torch.nn.functional.layer_norm(x, (width,), weights[name + ".weight"], weights[name + ".bias"], config["layer_norm_epsilon"])


def linear(x, name):
    return x @ weights[name + ".weight"] + weights[name + ".bias"]


def log_probabilities(ids):
    x = weights["wte.weight"][ids] + weights["wpe.weight"][:len(ids)]
    for layer in range(layers):
        block = f"h.{layer}."
        q, k, v = [part.view(len(ids), heads, -1).transpose(0, 1) for part in linear(norm(x, block + "ln_1"), block + "attn.c_attn").split(width, 1)]
        attended = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + linear(attended.transpose(0, 1).reshape(len(ids), width), block + "attn.c_proj")
        x = x + linear(torch.nn.functional.gelu(linear(norm(x, block + "ln_2"), block + "mlp.c_fc"), approximate="tanh"), block + "mlp.c_proj")
    return torch.log_softmax(norm(x, "ln_f") @ weights["wte.weight"].T, -1)


random.seed(7)
text = lambda most: [random.randrange(vocabulary) for _ in range(random.randint(1, most))]
stream, sums, correct, normalized, longest = [], [], [], [], 0
for index in range(40):
    # Some contexts and choices together are longer than the model's positions: the context is cut at its beginning.
    context, choices, answer = text(positions // 2 + 6), [text(positions // 2) for _ in range(4)], random.randrange(4)
    question = [65535, 0, index, answer, 4, len(context), *context]
    for choice in choices:
        question += [len(choice), *choice]
    question[1] = 2 * len(question)
    longest = max(longest, question[1])
    stream += question
    scores = []
    for choice in choices:
        ids = (context + choice)[-(positions + 1):]
        table = log_probabilities(torch.tensor(ids[:-1]))
        scores.append(sum(table[len(ids) - 1 - len(choice) + i, token].item() for i, token in enumerate(choice)))
    sums.append(scores)
    correct.append(max(range(4), key=lambda i: scores[i]) == answer)
    normalized.append(max(range(4), key=lambda i: scores[i] / len(choices[i])) == answer)
error = lambda values: statistics.stdev(map(float, values)) / math.sqrt(len(values))
with open(target + "/questions.bin", "wb") as file:
    file.write(struct.pack("<256i", 20240522, 1, len(sums), longest, *[0] * 252) + array.array("H", stream).tobytes())
with open(target + "/expected.json", "w") as file:
    json.dump({"acc": statistics.mean(map(float, correct)), "acc_stderr": error(correct), "acc_norm": statistics.mean(map(float, normalized)),
               "acc_norm_stderr": error(normalized), "log_probabilities": sums}, file)

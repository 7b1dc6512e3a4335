"""The texts of `ggufactory --help`."""

ABOUT = """\
Turn one checkpoint into a ladder of GGUF files, on a Ray cluster or on this machine, in a folder or
on S3. Every file is byte-identical to what llama.cpp's convert_hf_to_gguf.py and llama-quantize make.

  ggufactory inspect ./Llama-3.1-8B-Instruct
  ggufactory plan ./Llama-3.1-8B-Instruct --ladder Q8_0,Q6_K,Q4_K_M
  ggufactory quantize ./Llama-3.1-8B-Instruct --to ./out \\
      --ladder Q8_0,Q6_K,Q4_K_M --imatrix imatrix.gguf
  ggufactory verify ./out
"""

QUANTIZE = """\
Make the files of a ladder: TARGET/NAME-RUNG.gguf for each rung, and beside them manifest.json, a model card
(README.md), SHA256SUMS and, last of all, latest.json.

A file appears whole or not at all. Kill the job at any moment and start the same command again: it
makes only what is not there yet. S3 is configured the usual way: AWS_ENDPOINT_URL_S3 for a server of
your own, and credentials from the environment, ~/.aws or the instance.

  ggufactory quantize ./model --to ./out --ladder Q8_0,Q4_K_M
  ggufactory quantize s3://models/llama --to s3://gguf/llama \\
      --ladder bartowski --imatrix imatrix.gguf
  ggufactory quantize model-BF16-00001-of-00003.gguf --to ./out --ladder Q8_0
  ggufactory quantize --job job.yaml --ray-address auto
  ggufactory quantize ./model --to out --ladder IQ2_M --calibrate-text default

With --calibrate-text the job makes its importance matrix first, TARGET/NAME.imatrix.gguf; a later run finds it there.
With --evaluate-text it compares the rungs with SOURCE at the end; the figures are in the manifest and the card.

A job file holds the same fields as the flags:

  source: s3://models/Llama-3.1-8B-Instruct
  to: s3://gguf/llama-3.1-8b
  ladder: [Q8_0, Q6_K, Q4_K_M]
  imatrix: imatrix.gguf
"""

REPUBLISH = """\
Make the metadata of split files anew: a corrected chat template, a tokenizer key, another name. Only the
first file of each rung is written; it holds all metadata and no tensor. Give the flags of the `quantize`
run that made the files, with what has changed; nothing is written when that would change a tensor.

  ggufactory quantize ./model --to ./out --ladder Q4_K_M --split-max-size 45G
  ggufactory republish-header ./model --to ./out --ladder Q4_K_M \\
      --split-max-size 45G --override-kv general.name=str:Better
"""

PLAN = """\
Say what `quantize` would do, without reading a weight or writing a byte: types, exact file sizes,
parts, memory of a worker, and everything that is wrong with the request. With --to, parts follow the
limits of that target; the S3 limits are 10,000 parts of at least 5 MiB.
"""

VERIFY = """\
Read every artifact of a target back and compare it with manifest.json: size, CRC-32 and SHA-256. Then what
lies beside them: SHA256SUMS, the model card, plots, report and latest.json have to be those of this manifest. With
--public-key, manifest.json and SHA256SUMS have to be signed by it; without, signatures prove nothing.
"""

CARD = """\
Make what lies beside the artifacts of a target anew, from its manifest.json alone: the model card README.md,
the plots and report of what was measured, SHA256SUMS, the signatures and latest.json. Nothing that is right already is
written. --header gives what the card begins with, a Markdown file whose front matter goes over the card's own; it is
kept for later runs.

  ggufactory card s3://gguf/llama --header header.md --sign-key minisign.key
"""

PUBLISH = """\
Upload a target to a repository of the Hugging Face hub, from the store, without a local copy: the artifacts, a
model card for that place, plots, report, SHA256SUMS, manifest.json and the signatures. Without --yes it says what it
would do.

Files that the repository has already are left out, and files that were uploaded before an interruption are not
sent again. All of them appear at once, in one commit at the end. The token is HF_TOKEN, or what `hf auth login` left.

  ggufactory publish s3://gguf/llama --hub org/Llama-3.1-8B-Instruct-GGUF
  ggufactory publish s3://gguf/llama --hub org/Llama-3.1-8B-Instruct-GGUF --yes
"""

FETCH = """\
Download a rung, all files of it, over several connections, and check its SHA-256. A file appears under its name
when it is whole and right; until then it is NAME.part, and the same command goes on with it.

  ggufactory fetch s3://gguf/llama Q4_K_M --to ./models
  ggufactory fetch hf://org/Llama-3.1-8B-GGUF Q4_K_M --public-key minisign.pub
  ggufactory fetch s3://gguf/llama Q4_K_M --link --expires 2h
"""

INSPECT = """\
Summarize a checkpoint or a GGUF file by its headers: architecture, tensors, types, sizes, metadata.

With --errors: how much each rung of a target loses, and in which tensors the most. The relative error of a tensor
is the root of its squared errors over its squared weights, each weighted by the importance matrix where the job had
one; `ggufactory quantize` measures it and keeps it in manifest.json. 0 % is the source.
"""

IMATRIX = """\
Importance matrix files, of llama-imatrix or of ours, in both formats: GGUF (.gguf) and legacy (.dat).
"""

IMATRIX_SHOW = """\
Say what an importance matrix holds: the statistics of `llama-imatrix --show-statistics`, each in its
definition and its order, and how many tokens reached each expert of a mixture.

  sum        of the columns' mean squared activations; min, max, mean, sd too
  active     columns above 1e-5
  entropy    of the columns' shares of the sum, in bits; of max: of the most
  ZD         columns more than one standard deviation above the mean
  cosine     similarity to the same tensor one layer before

  ggufactory imatrix show imatrix.gguf
  ggufactory imatrix show imatrix.gguf --top 20 --plot imatrix.svg
"""

IMATRIX_MERGE = """\
Add importance matrices of one model up, as `llama-imatrix --in-file A --in-file B` does. The suffix of --to
says which format is written; with one file this converts it. An existing file is replaced, at once and whole.

  ggufactory imatrix merge english.gguf code.gguf --to imatrix.gguf
  ggufactory imatrix merge imatrix.dat --to imatrix.gguf
"""

CALIBRATE = """\
Make an importance matrix: run the model over calibration text, a layer at a time, and sum the squared inputs of
every tensor as llama-imatrix does. Only one layer's weights are in memory, whatever the model's size. The tokens
are llama.cpp's, and so are the chunks: each is evaluated alone, and what is left of a text is dropped.

Kill it at any moment and start the same command again: it goes on after the last finished layer. Several workers
divide the chunks (each reads all layers) or the layers (each reads its own); the file is the same in every way.

  ggufactory calibrate ./model --text calibration.txt --to imatrix.gguf
  ggufactory calibrate s3://models/large --text calibration.txt \\
      --to s3://gguf/large/imatrix.gguf --ray-address auto
  ggufactory calibrate ./mixture --to imatrix.gguf --chunks 100 --coverage more
  ggufactory quantize ./model --to ./out --ladder IQ2_XS --imatrix imatrix.gguf

Without --text it takes the text that comes with the package: a start, and no substitute for text of what the model is
used for. An expert of a mixture that few tokens reach has weights that are mostly chance; --coverage says what is done.
"""

SUBMIT = """\
Run a job on a Ray cluster, by the job server of its head. The job file travels along, and so do small files
that it names on this machine (imatrix, metadata_file); source and target have to be where the cluster can
reach them. No credential is sent: the cluster's nodes have their own.

The plan is made here first, so a faulty job fails in seconds. Its fingerprint and the target name the job
on the cluster: while it runs there, the same command follows it instead of starting it again; once it is
done, it says so; when it has failed, it is resumed as another attempt.

The job's log goes to standard output, and the exit code is the job's. Ctrl-C only stops following; to stop
the job itself: ray job stop --address URL ID. Where the cluster asks for a token, set RAY_AUTH_MODE=token
and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH.

  ggufactory submit job.yaml --address http://head:8265
  ggufactory submit job.yaml --address http://head:8265 --no-wait
"""

SYNC = """\
Make true what a catalogue says: find the models whose files are missing or stale, make those and nothing
else, one after the other in order of priority, on one Ray. A model that fails does not stop the others.

  ggufactory sync catalog.yaml --ray-address auto --if-locked skip
  ggufactory sync catalog.yaml --watch --interval 15m

A catalogue has a target, and models with the fields of a job file (`ggufactory quantize --help`):

  target: s3://gguf
  ladder: bartowski              # of models that have none of their own
  models:
    - {source: "hf://org/name", revision: latest, imatrix: a.gguf, priority: 10}
    - {source: s3://models/other, ladder: [Q8_0, Q6_K], target: s3://gguf/b}

The run holds a lease of each target that it works on, so that two of them never do the same work.
"""

STATUS = """\
Say how far the jobs of a target are, and what is finished: parts, bytes, pace and time left, who holds the
lease, which spans could not be made. All of it comes from the store, so it can be asked from anywhere; the
source is not needed, nor a cluster.

  ggufactory status s3://gguf/llama
  ggufactory status job.yaml --json
"""

GC = """\
List what jobs that were never resumed left in a target: uploads, which are billed and invisible, and the
states of their plans. Only what is ours is listed, and with --delete removed, under the target's lease.

  ggufactory gc s3://gguf/llama
  ggufactory gc s3://gguf/llama --older-than 30d --delete
"""

EVALUATE = """\
Compare the files of a ladder with the checkpoint that they were made from: run the source's model and every rung's
side by side over a text, a layer at a time, and compare what they predict. Figures are llama-perplexity's: perplexity,
Kullback-Leibler divergence from the source, how often both find the same token the most likely one. No logits are kept,
and the memory is that of one layer, whatever the models' sizes. Activations are not rounded to eight bits, as
llama.cpp does on a CPU, so divergences below 0.001 come out lower; with --activations as-llama.cpp they are.

  ggufactory evaluate ./out --source ./model --text evaluation.txt
  ggufactory evaluate a-Q4_K_M.gguf b-IQ3_XXS.gguf --source ./model \\
      --text evaluation.txt --json
"""

CHOOSE = """\
Say which rung of a target to take for a memory, and why. What a rung needs is the size of its files, the keys and
values of the context in 16 bits, and llama.cpp's compute buffers; 1 GB of each memory stays free. Of those that fit,
it is the one with the least measured divergence from the source (`ggufactory evaluate`), or a smaller one that is as
near within its error; where nothing was measured, the one with the most bits per weight. A rung that fits into the
VRAM is preferred to a better one that needs the RAM as well.

  ggufactory choose ./out --vram 8
  ggufactory choose hf://org/Llama-8B-GGUF --vram 8 --ram 32 --context 32768

Where nothing fits, it says what the smallest needs, and the exit code is 2.
"""

EXIT_CODES = """\
exit codes:
  0         done, or nothing to do
  1         unexpected
  2         the input or the request is wrong
  3         some spans failed; the same command resumes
  4         the store or the cluster cannot be reached, or is full;
            a GPU keeps failing
  5         another run holds the lease of the target
  130, 143  stopped by a signal; the same command resumes
"""

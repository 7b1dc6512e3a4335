"""The texts of `ggufactory --help`."""

ABOUT = """\
Turn one checkpoint into a ladder of GGUF files, on a Ray cluster or on this machine, in a folder or
on S3. Every file is byte-identical to what llama.cpp's convert_hf_to_gguf.py and llama-quantize make.

  ggufactory inspect ./Llama-3.1-8B-Instruct
  ggufactory plan ./Llama-3.1-8B-Instruct --ladder Q8_0,Q6_K,Q4_K_M
  ggufactory quantize ./Llama-3.1-8B-Instruct --to ./out --ladder Q8_0,Q6_K,Q4_K_M --imatrix imatrix.gguf
  ggufactory verify ./out
"""

QUANTIZE = """\
Make the files of a ladder: TARGET/NAME-RUNG.gguf for each rung, and TARGET/manifest.json, written last.

A file appears whole or not at all. Kill the job at any moment and start the same command again: it
makes only what is not there yet. S3 is configured the usual way: AWS_ENDPOINT_URL_S3 for a server of
your own, and credentials from the environment, ~/.aws or the instance.

  ggufactory quantize ./model --to ./out --ladder Q8_0,Q4_K_M
  ggufactory quantize s3://models/llama --to s3://gguf/llama --ladder Q4_K_M --imatrix imatrix.gguf
  ggufactory quantize model-BF16-00001-of-00003.gguf --to ./out --ladder Q8_0,Q4_K_M
  ggufactory quantize --job job.yaml --ray-address auto

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
  ggufactory republish-header ./model --to ./out --ladder Q4_K_M --split-max-size 45G \\
      --override-kv general.name=str:Better
"""

PLAN = """\
Say what `quantize` would do, without reading a weight or writing a byte: types, exact file sizes,
parts, memory of a worker, and everything that is wrong with the request. With --to, parts follow the
limits of that target; the S3 limits are 10,000 parts of at least 5 MiB.
"""

VERIFY = """\
Read every artifact of a target back and compare it with manifest.json: size, CRC-32 and SHA-256.
"""

INSPECT = """\
Summarize a checkpoint or a GGUF file by its headers: architecture, tensors, types, sizes, metadata.
"""

IMATRIX = """\
Importance matrix files, of llama-imatrix or of ours, in both formats: GGUF (.gguf) and legacy (.dat).
"""

IMATRIX_SHOW = """\
Say what an importance matrix holds: the statistics of `llama-imatrix --show-statistics`, each in its
definition and its order, and how many tokens reached each expert of a mixture.

  sum        of the mean squared activations of the columns; min, max, mean and sd are theirs too
  active     columns above 1e-5
  entropy    of the columns' shares of the sum, in bits, and as a share of the largest possible
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

  ggufactory calibrate ./model --text calibration.txt --to imatrix.gguf
  ggufactory quantize ./model --to ./out --ladder IQ2_XS --imatrix imatrix.gguf
"""

EVALUATE = """\
Compare the files of a ladder with the checkpoint that they were made from: run the source's model and every rung's
side by side over a text, a layer at a time, and compare what they predict. Figures are llama-perplexity's: perplexity,
Kullback-Leibler divergence from the source, how often both find the same token the most likely one. No logits are kept,
and the memory is that of one layer, whatever the models' sizes. Activations are not rounded to eight bits, as
llama.cpp does on a CPU, so divergences below 0.001 come out lower.

  ggufactory evaluate ./out --source ./model --text evaluation.txt
  ggufactory evaluate a-Q4_K_M.gguf b-IQ3_XXS.gguf --source ./model --text evaluation.txt --json
"""

EXIT_CODES = """\
exit codes:
  0  done, or nothing to do           4  the store or the cluster cannot be reached, or is full
  1  unexpected                       130, 143  stopped by a signal; the same command resumes
  2  the input or the request is wrong
  3  some spans failed; the same command resumes
"""

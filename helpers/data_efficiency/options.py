"""What a user of this strategy may choose, without torch: prices, repetitions, and the names behind the controls."""

# An assumption to be replaced by your own: 15 s of a person who costs $24 an hour. Crowds ask less for a look, and
# several look: $0.012 a text and worker for three to five workers through SageMaker Ground Truth, besides its own fee
# (https://www.wring.co/blog/aws-sagemaker-ground-truth-pricing-guide, 2026-03-15).
USD_PER_LABEL = 0.10
# Share of looks after which a reviewer leaves a wrong label. Labels that people gave and others published are wrong in
# 3.3% on average over ten test sets, in 6% of ImageNet's (Northcutt, Athalye and Mueller, arXiv 2103.14749).
REVIEWER_ERROR = 0.05
REVIEWER_ERRORS = (0.0, 0.05, 0.1, 0.2)  # that are recorded
SEEDS = 5  # repetitions: fewer say little about a difference of a point
FEATURES = ("minilm", "lexical", "pixels")
NOISES = ("uniform", "confusable")
# From which similarity on two texts are shown as near-duplicates. For MinHash, the highest that finds 95% of the
# copies with typos planted in `tickets` (0.99; all reordered ones, 0.46 of the paraphrased). Judged on data that did
# not choose it: 0.98, 1.00 and 0.30 of the copies planted in banking77, whose own 3,195 pairs share their label in
# 93.5% (55 of 60 read by hand ask the same in nearly the same words), and 0.99, 1.00 and 0.72 in `docstrings`
# (1,649 pairs, 98.7%). One pair in twelve of banking77 is none, and 'a fun fact about cats' and '... about dogs'
# always are one: hence pairs are looked at, and removed only on request. For embeddings 0.9 means a similar meaning,
# not a copy: banking77 has 14,956 such pairs (97.5% share their label), and 0.33 of the copies with typos.
THRESHOLDS = {"exact": 1.0, "minhash": 0.7, "semantic": 0.9}
AUGMENTATIONS = ("none", "edits", "masked", "mixup")
GENERATORS = ("words", "recombine")
TRIES = 3  # texts that are written for each synthetic row that is wanted
TOKEN_PRICES = ("OpenAI gpt-4o-mini", "OpenAI gpt-5.4-mini")  # by which requests may be paid

"""Models small enough to be trained in a unit test."""

def make_tiny_model(task, seed: int = 0, places: int = 128):
    """A two-layer BERT of `places` tokens with random weights, wide apart enough that its answers differ."""
    import torch
    from transformers import BertConfig, BertModel

    from helpers.lab.data.tokenizer import TextEncoder
    from helpers.lab.models.model import Card
    from helpers.lab.models.modules.classifiers import MeanPoolClassifier
    from helpers.lab.models.torch import TorchTextModel, count_macs, count_parameters
    from helpers.lab.training.weights import find_weights

    torch.manual_seed(seed)
    config = BertConfig(vocab_size=30522, hidden_size=64, num_hidden_layers=2, num_attention_heads=4,
                        intermediate_size=128, max_position_embeddings=places, initializer_range=0.15)
    module = MeanPoolClassifier(BertModel(config), len(task.labels)).eval()
    card = Card("tiny", len(task.labels), settings={"runtime": "pytorch"}, parameters=count_parameters(module),
                macs=count_macs(module, 8), labels=task.labels)
    return TorchTextModel(card, TextEncoder.load(find_weights() / "tokenizer.json", places), module)


def make_narrow_encoder(folder):
    """A folder with MiniLM's tokenizer and a two-layer BERT, 32 wide, with random weights."""
    import torch
    from transformers import BertConfig, BertModel

    from helpers.lab.training.weights import find_weights

    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=30522, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
                         intermediate_size=64, max_position_embeddings=128, initializer_range=0.15)
              ).save_pretrained(folder)
    (folder / "tokenizer.json").write_bytes((find_weights() / "tokenizer.json").read_bytes())
    return folder

"""Trace's first example: prompts and code of a small agent learn to greet in the language they are spoken to.

``python trace_greeting.py`` asks the model that AGENTOPT_MODEL names (openai:NAME, with OPENAI_API_KEY and OPENAI_BASE_URL); without one,
a server on this machine answers what is written down here.
"""

import os

from agentopt.compat.trace import ExecutionError, bundle, model, node, operators
from agentopt.compat.trace.llm import LLM
from agentopt.compat.trace.optimizers import OptoPrime


@model
class Agent:
    def __init__(self, system_prompt):
        self.system_prompt = system_prompt
        self.instruct1 = node("Decide the language", trainable=True)
        self.instruct2 = node("Extract name if it's there", trainable=True)

    def __call__(self, query):
        language = self.decide_lang(operators.call_llm(self.system_prompt, self.instruct1, query))
        name = operators.call_llm(self.system_prompt, self.instruct2, query)
        return self.greet(language, name)

    @bundle(trainable=True)
    def decide_lang(self, response):
        """Map the language into a variable"""
        return

    @bundle(trainable=True)
    def greet(self, lang, user_name):
        """Produce a greeting based on the language"""
        greeting = "Hola"
        return f"{greeting}, {user_name}!"


def feedback_of(greeting):
    return "Correct" if greeting.startswith("Hello") else "Incorrect"


def train(llm, epochs=3):
    """The greetings, the last one correct if all went well."""
    agent, greetings = Agent("You are a sales assistant."), []
    optimizer = OptoPrime(agent.parameters(), llm=llm)
    for _ in range(epochs):
        try:
            greeting = agent("Hello, I'm John.")
            feedback = feedback_of(greeting.data)
        except ExecutionError as error:
            greeting = error.exception_node
            feedback = greeting.data
        greetings.append(greeting.data)
        if feedback == "Correct":
            break
        optimizer.zero_feedback()
        optimizer.backward(greeting, feedback)
        optimizer.step(verbose=False)
    optimizer.close()
    return greetings


ANSWERS = {
    "Decide the language": "english",
    "Extract name": "John",
    "Reply with the name alone": "John",
}
SUGGESTION = """
<reasoning>The greeting is always Spanish, whatever the language.</reasoning>
<variable><name>decide_lang</name><value>
def decide_lang(self, response):
    return "es" if "spanish" in response.lower() else "en"
</value></variable>
<variable><name>greet</name><value>
def greet(self, lang, user_name):
    greeting = "Hola" if lang == "es" else "Hello"
    return f"{greeting}, {user_name}!"
</value></variable>"""


def written_down(received):
    """What the server answers to a request."""
    from agentopt.testing.fake_llm import Step

    said = [message["content"] for message in received.body["messages"]]
    if said[0] == "You are a sales assistant.":
        return Step(text=next(answer for start, answer in ANSWERS.items() if said[1].startswith(start)))
    return Step(text=SUGGESTION)


if __name__ == "__main__":
    if os.environ.get("AGENTOPT_MODEL"):
        print(*train(LLM()), sep="\n")
    else:
        from agentopt.testing import FakeLLM

        with FakeLLM(written_down) as server:
            os.environ.update(AGENTOPT_MODEL="openai:written-down", OPENAI_BASE_URL=server.url, OPENAI_API_KEY="none")
            print(*train(LLM()), sep="\n")

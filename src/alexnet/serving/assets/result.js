// What is asked about the picture that is shown: the events 'explain', 'layer' and 'correct'.
const number = part => Number(part.closest('[data-picture]').dataset.picture)
element.addEventListener('click', event => {
  const button = event.target.closest('button[data-class], button[data-method]')
  if (button) trigger('explain', { number: number(button), class: button.dataset.class, method: button.dataset.method })
})
element.addEventListener('change', event => {
  if (event.target.matches('select')) trigger('layer', { number: number(event.target), layer: event.target.value })
})
element.addEventListener('submit', event => {
  event.preventDefault()
  trigger('correct', { number: number(event.target), label: new FormData(event.target).get('label') })
})
